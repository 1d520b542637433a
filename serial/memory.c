/* The table of allocation calls.
 *
 * Decides nothing; owns the one variable through which every allocation of the library goes, so that a test can make the
 * n-th of them fail. Written by tests only, before any thread of ours exists; read from any thread after that, so it needs
 * no lock. The happy path is libc's own functions; what a failure means is said where the call is made. There is no `free`
 * in the table: a block may outlive the library's own code (mp_free_values), and free(3) cannot fail. */
#include "serial/memory.h"

mp__memory_calls mp__memory = {.malloc = malloc, .calloc = calloc, .realloc = realloc, .aligned_alloc = aligned_alloc};
