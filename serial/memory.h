/* Every allocation of the library goes through here, so that a test can fail any of them. */
#ifndef MP__SERIAL_MEMORY_H
#define MP__SERIAL_MEMORY_H
#include <stdlib.h>

/* Tests put their own functions in; set before any thread of ours exists. `free` is free(3), always. */
typedef struct mp__memory_calls {
    void *(*malloc)(size_t size);
    void *(*calloc)(size_t count, size_t size);
    void *(*realloc)(void *old, size_t size);
    void *(*aligned_alloc)(size_t alignment, size_t size);
} mp__memory_calls;
extern mp__memory_calls mp__memory;

#endif
