# checkkern: every micro-kernel at every level this machine has, against the scalar reference.
add_executable(checkkern kern/main.c kern/inputs.c kern/kern_mm.c kern/kern_format.c
    kern/kern_attn.c kern/kern_row.c kern/bench.c kern/bench_attn.c kern/bench_moe.c kern/roof.c)
target_link_libraries(checkkern PRIVATE hadal_kernels m)
add_test(NAME kern.checkkern COMMAND checkkern WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
set_tests_properties(kern.checkkern PROPERTIES LABELS kern TIMEOUT 900)

# The same for arm64 under emulation, where its compiler and qemu are.
if(NOT HADAL_SANITIZE)
    add_test(NAME kern.arm64
        COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/kern/arm64.sh ${CMAKE_SOURCE_DIR} ${CMAKE_CURRENT_BINARY_DIR}/arm64)
    set_tests_properties(kern.arm64 PROPERTIES LABELS kern TIMEOUT 900 SKIP_RETURN_CODE 77)
endif()
