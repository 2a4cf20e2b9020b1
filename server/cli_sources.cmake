# The command line.
target_sources(hadal_server PRIVATE
    bench_clients.c bench_load.c bench_roof.c cli.c cmd_bench.c cmd_chat.c cmd_inspect.c inspect_plan.c cmd_run.c cmd_score.c cmd_tokenize.c
    config.c config_alias.c config_alias_table.c config_help.c config_table.c model_find.c
    status_map.c talk.c)
target_link_libraries(hadal_server PRIVATE PkgConfig::EDIT m)
