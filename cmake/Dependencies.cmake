# Every third-party library, by the package that brings it on Debian 12. A missing one is named
# with the command that installs it.
find_package(PkgConfig REQUIRED)

function(mlq_dependency target module package)
    pkg_check_modules(${target} IMPORTED_TARGET GLOBAL ${module})
    if(NOT ${target}_FOUND)
        message(FATAL_ERROR "${module} is missing: apt-get install ${package} (or run deploy/install-packages.sh)")
    endif()
endfunction()

mlq_dependency(UV libuv libuv1-dev)
mlq_dependency(ZMQ libzmq libzmq3-dev)
mlq_dependency(PROTOBUF_C libprotobuf-c libprotobuf-c-dev)
mlq_dependency(PQ libpq libpq-dev)
mlq_dependency(FYAML libfyaml libfyaml-dev)
mlq_dependency(JANSSON jansson libjansson-dev)
mlq_dependency(CRYPTO libcrypto libssl-dev)
mlq_dependency(PCRE2 libpcre2-8 libpcre2-dev)
mlq_dependency(OPENBLAS openblas libopenblas-pthread-dev)
if(MLQ_TESTS)
    mlq_dependency(CMOCKA cmocka libcmocka-dev)
endif()
find_program(PROTOC_C protoc-c REQUIRED)
