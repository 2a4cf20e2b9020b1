target_sources(hadal_models PRIVATE)
