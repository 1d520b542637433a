/* What is known of how an item or a life ended, beyond what stands in an mp_error: kinds of workers gather it, records keep it. */
#ifndef MP__POOL_EVIDENCE_H
#define MP__POOL_EVIDENCE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All pointers are borrowed, as long as the event that it came with. Zero: not known. */
typedef struct mp__evidence {
    uintptr_t address; /* of a fault */
    bool has_address;
    bool by_oom; /* the kernel killed it for memory, as far as can be known */
    /* of the worker's life so far: user and system time, and the most memory that it had */
    uint64_t cpu_ns, rss_bytes;
    uint64_t ran_ns; /* how long the item had been running */
    /* A raw backtrace, a line for each frame: "ADDRESS MODULE+OFFSET\n", in hex. MODULE is a path, OFFSET where it is in that file. */
    const char *frames;
    size_t frames_size;
    /* what it has written to standard output and error, where that is captured; `cut`: there was more */
    const char *out, *err;
    size_t out_size, err_size;
    bool out_cut, err_cut;
    bool out_told, err_told; /* an OUTPUT has brought it before: it is printed already */
} mp__evidence;

#endif
