# One line per module: hadal_unit(name libraries...).
hadal_unit(base_small hadal_base)
hadal_unit(json hadal_base)
hadal_unit(utf8 hadal_base)
hadal_unit(mem hadal_base)
hadal_unit(pool hadal_base)
hadal_unit(cpu hadal_base)
hadal_unit(file hadal_base)
