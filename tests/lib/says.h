/* What an error says, for assertions: cr_assert(says(&error, "chunksize"), "%s", error.message). */
#ifndef TESTS_LIB_SAYS_H
#define TESTS_LIB_SAYS_H
#include <millpond/error.h>
#include <stdbool.h>
#include <string.h>

static inline bool says(const mp_error *error, const char *text)
{
    return memchr(error->message, 0, sizeof error->message) && strstr(error->message, text);
}

/* As after success: every byte is zero. */
static inline bool is_zero(const void *memory, size_t size)
{
    const unsigned char *bytes = memory;
    for (size_t i = 0; i < size; i++)
        if (bytes[i])
            return false;
    return true;
}

/* Fills with what a call must overwrite. */
static inline void spoil(void *memory, size_t size)
{
    memset(memory, 0xa5, size);
}

#endif
