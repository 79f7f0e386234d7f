# STYLE.md, "Flags". MLQ_WARNINGS is for all of our C; MLQ_WARNINGS_STRICT adds what tests are
# spared (conversions), as in canonical/raft.
set(MLQ_WARNINGS
    -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes
    -Wold-style-definition -Wvla -Walloca -Wundef -Wformat=2 -Wnull-dereference
    -Wdouble-promotion -Wcast-qual -Wwrite-strings -Wswitch-enum -Wimplicit-fallthrough
    -fno-common -fno-strict-aliasing -fno-omit-frame-pointer)
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
    list(APPEND MLQ_WARNINGS -Wlogical-op -Wduplicated-cond -Wcast-align=strict)
endif()
if(MLQ_SANITIZE STREQUAL "thread") # between its calls gcc does not see what an assertion has ruled out
    list(REMOVE_ITEM MLQ_WARNINGS -Wnull-dereference)
endif()
set(MLQ_WARNINGS_STRICT ${MLQ_WARNINGS} -Wconversion)

option(MLQ_WERROR "warnings are errors (set by the presets, not for users)" OFF)
if(MLQ_WERROR)
    list(APPEND MLQ_WARNINGS -Werror)
    list(APPEND MLQ_WARNINGS_STRICT -Werror)
endif()

if(CMAKE_BUILD_TYPE STREQUAL "Release")
    add_compile_options(-O2 -g -fstack-protector-strong -fstack-clash-protection -fcf-protection
                        $<$<COMPILE_LANGUAGE:C>:-ftrivial-auto-var-init=zero>)
    add_compile_definitions(_FORTIFY_SOURCE=2)
    add_link_options(-Wl,-z,relro -Wl,-z,now)
endif()
# The same bits everywhere: no fused multiply-add that the source does not ask for.
add_compile_options(-ffp-contract=off)
