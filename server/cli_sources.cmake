target_sources(hadal_server PRIVATE)
