/* Pages become files, under names that no server can choose to do harm with. */
#ifndef DOWNLOAD_SAVE_H
#define DOWNLOAD_SAVE_H
#include <millpond.h>

typedef struct {
    uint64_t bytes;
    char name[128]; /* in the directory */
} saved;
MP_TYPE(saved, bytes, name);

/* Writes a new file into the directory, named after the last part of the URL's path; with a number if there is one of that name,
 * which is never touched. Any number of threads and processes at once. `error` says in one line why it cannot; then nothing is
 * left behind. */
mp_status save(const char *directory, const char *url, mp_bytes body, saved *file, mp_error *error);

#endif
