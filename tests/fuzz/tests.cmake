# One line per parser: hadal_fuzz(name libraries...).
hadal_fuzz(json hadal_base)
hadal_fuzz(utf8 hadal_base)
