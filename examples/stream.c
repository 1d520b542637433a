/* Counts the words of standard input, which may be endless, or just very large: one line at a time, results as they come.
 *
 * Memory stays flat however long the input and however slow its reader: the generator is asked only when there is room
 * (.buffersize). A line that fails does not end the stream; leaving the loop early would cancel what has not started. */
#include <ctype.h>
#include <millpond.h>
#include <stdio.h>
#include <stdlib.h>

static mp_status count_words(const mp_str *line, int64_t *words, mp_call *call)
{
    (void)call;
    bool inside = false;
    *words = 0;
    for (size_t i = 0; i < line->size; i++) {
        bool space = isspace((unsigned char)line->data[i]);
        *words += inside && space;
        inside = !space;
    }
    *words += inside;
    return MP_OK;
}
MP_TASK(count_words, mp_str, int64_t);

typedef struct {
    FILE *file;
    char *line;
    size_t room;
} lines;

static bool next_line(mp_str *line, void *user) /* false: the input has ended */
{
    lines *from = user;
    ssize_t size = getline(&from->line, &from->room, from->file);
    *line = (mp_str){from->line, size > 0 ? (size_t)size : 0}; /* copied, so that the buffer may be used again */
    return size > 0;
}

int main(void)
{
    lines input = {.file = stdin};
    mp_error error = {0};
    int64_t total = 0;
    MP_WITH_POOL (pool, .error = &error) {
        mp_iter *counts = mp_pool_imap_unordered_from(pool, count_words, next_line, &input, .chunksize = 64,
                                                      .buffersize = 4096, .progress = stderr);
        int64_t words;
        mp_status status;
        while ((status = mp_iter_next(counts, &words, MP_FOREVER)) != MP_END)
            if (status == MP_OK)
                total += words;
            else
                mp_perror(mp_iter_error(counts)); /* a line that is not UTF-8, for one */
        mp_iter_free(&counts);
    }
    free(input.line);
    if (error.status != MP_OK)
        return mp_perror(&error), 1;
    printf("%lld\n", (long long)total);
}
