/* Arrays of values that the engine owns: copies of users' inputs, and room for results. */
#ifndef MP__POOL_VALUES_H
#define MP__POOL_VALUES_H
#include "serial/fault.h"
#include <millpond/error.h>
#include <millpond/type.h>

/* Room for `n` values, zeroed, aligned for the type. NULL: no memory, or more than there can be. Given; free(3). */
void *mp__values_alloc(const mp_type *type, size_t n);
/* A copy of `n` values and all they point to. NULL: why is in the fault. */
void *mp__values_copy(const mp_type *type, const void *from, size_t n, mp__fault *fault);
/* Frees values, what they own and their array. NULL is fine. */
void mp__values_free(const mp_type *type, void *values, size_t n);

/* False if `out`, where a result of this type is to go, points to something of another size: `size`, which the macros take from what
 * it points to. True where that is not known, and where nothing is to go. NULL: the call was refused before its type was known. */
bool mp__values_fit(const mp_type *type, const void *out, size_t size);

/* About how many bytes a value points to. */
size_t mp__values_bytes(const mp_type *type, const void *value);

/* What the user is told about a value that cannot be copied. */
mp_status mp__values_failure(mp_error *error, const char *what, const mp__fault *fault);

#endif
