# checkkern: every micro-kernel at every level this machine has, against the scalar reference.
add_executable(checkkern kern/main.c kern/inputs.c kern/kern_mm.c kern/kern_format.c
    kern/kern_attn.c kern/kern_row.c kern/bench.c kern/bench_attn.c kern/bench_moe.c kern/roof.c)
target_link_libraries(checkkern PRIVATE hadal_kernels m)
add_test(NAME kern.checkkern COMMAND checkkern WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
set_tests_properties(kern.checkkern PROPERTIES LABELS kern TIMEOUT 900)
