/* A file's words are counted by one plain function, count_file_into. The task wraps it, and turns what it counted into a value
 * that can travel; the serial way calls it directly, into the totals. So the two results differ only if the pool is wrong. */
#include "examples/wordcount/count.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the task: what travels, and what a worker does ---- */

/* The words of one file: letters of all words one after the other, and for each word its size and how often it occurs. Three
 * long fields, which travel as they stand in memory, and not millions of small structs, each of which is looked at. */
typedef struct {
    uint64_t bytes;
    bool binary;
    mp_str letters;
    MP_SPAN(uint8_t) sizes;
    MP_SPAN(uint64_t) counts;
} file_count;
MP_TYPE(file_count, bytes, binary, letters, sizes, counts);
static_assert(WORD_MAX <= UINT8_MAX, "a word's size is one byte in file_count");

/* Adds the words of one file. 0, or errno's number; then nothing was added but, without memory, a part. */
static int count_file_into(const char *path, tally *words, content *text)
{
    int error = content_read(text, path);
    if (!error && !text->binary && !tally_text(words, text->text, text->size))
        error = ENOMEM;
    return error;
}

/* The result must outlive the function: its memory is the call's, which lives until the result was sent. */
static bool give(const tally *words, file_count *out, mp_call *call)
{
    char *letters = mp_call_alloc(call, words->letter_count);
    uint8_t *sizes = mp_call_alloc(call, words->count * sizeof *sizes);
    uint64_t *counts = mp_call_alloc(call, words->count * sizeof *counts);
    if (!letters || !sizes || !counts)
        return false;
    memcpy(letters, words->letters, words->letter_count);
    for (size_t i = 0; i < words->count; i++) {
        sizes[i] = (uint8_t)words->entries[i].size;
        counts[i] = words->entries[i].count;
    }
    out->letters = (mp_str){letters, words->letter_count};
    out->sizes.items = sizes;
    out->counts.items = counts;
    out->sizes.count = out->counts.count = words->count;
    return true;
}

/* A path is bytes, not text: nothing says that it is UTF-8. Its final zero travels with it. */
static mp_status count_file(const mp_bytes *path, file_count *out, mp_call *call)
{
    tally words = {0};
    content text = {0};
    int error = count_file_into(path->data, &words, &text);
    if (!error && words.count && !give(&words, out, call))
        error = ENOMEM;
    out->bytes = text.size;
    out->binary = text.binary;
    content_fini(&text);
    tally_fini(&words);
    return error ? mp_fail(call, MP_ESYSTEM, "%s", strerror(error)) : MP_OK;
}
MP_TASK(count_file, mp_bytes, file_count);

/* ---- totals ---- */

static void add_file(totals *into, uint64_t bytes, bool binary)
{
    into->files++;
    into->bytes += bytes;
    into->binaries += binary;
}

static bool add_unreadable(totals *into, const char *path, const char *reason)
{
    return paths_add(&into->unreadable, "%s: %s", path, reason);
}

void totals_fini(totals *of)
{
    tally_fini(&of->words);
    paths_fini(&of->unreadable);
    *of = (totals){0};
}

bool totals_equal(const totals *a, const totals *b)
{
    if (a->files != b->files || a->binaries != b->binaries || a->bytes != b->bytes ||
        a->unreadable.count != b->unreadable.count || !tally_equal(&a->words, &b->words))
        return false;
    for (size_t i = 0; i < a->unreadable.count; i++)
        if (strcmp(a->unreadable.items[i], b->unreadable.items[i]) != 0)
            return false;
    return true;
}

/* ---- all files, in two ways ---- */

bool count_serially(const paths *files, totals *into)
{
    content text = {0};
    bool good = true;
    for (size_t i = 0; i < files->count && good; i++) {
        int error = count_file_into(files->items[i], &into->words, &text);
        if (error == ENOMEM)
            good = false;
        else if (error)
            good = add_unreadable(into, files->items[i], strerror(error));
        else
            add_file(into, text.size, text.binary);
    }
    content_fini(&text);
    return good;
}

static bool merge_file(const file_count *count, tally *into)
{
    const char *word = count->letters.data;
    for (size_t i = 0; i < count->sizes.count; i++) {
        if (!tally_add(into, word, count->sizes.items[i], count->counts.items[i]))
            return false;
        word += count->sizes.items[i];
    }
    return true;
}

static bool merge(const paths *files, const file_count *counts, const mp_error *errors, totals *into)
{
    for (size_t i = 0; i < files->count; i++) {
        if (errors[i].status != MP_OK) {
            if (!add_unreadable(into, files->items[i], errors[i].message))
                return false;
            continue;
        }
        add_file(into, counts[i].bytes, counts[i].binary);
        if (!merge_file(&counts[i], &into->words))
            return false;
    }
    return true;
}

static bool no_memory(mp_error *error)
{
    *error = (mp_error){.status = MP_ENOMEM, .item = MP_NO_ITEM, .worker = MP_NO_WORKER};
    snprintf(error->message, sizeof error->message, "%s", strerror(ENOMEM));
    return false;
}

bool count_in_pool(const paths *files, int workers, ptrdiff_t chunksize, totals *into, mp_error *error)
{
    mp_pool *pool;
    if (mp_pool_open(&pool, .processes = workers, .error = error) != MP_OK)
        return false;

    mp_bytes *names = calloc(files->count, sizeof *names);
    file_count *counts = calloc(files->count, sizeof *counts);
    mp_error *errors = calloc(files->count, sizeof *errors);
    bool good = false;
    if (!names || !counts || !errors) {
        no_memory(error);
        goto done;
    }
    for (size_t i = 0; i < files->count; i++)
        names[i] = (mp_bytes){files->items[i], strlen(files->items[i]) + 1};

    mp_status status = mp_pool_map(pool, count_file, names, files->count, counts, .chunksize = chunksize, .errors = errors,
                                   .error = error);
    if (status != MP_OK && error->item == MP_NO_ITEM)
        goto done; /* the call itself; a failed item is a line of the report */
    good = merge(files, counts, errors, into) || no_memory(error);
    mp_free(file_count, counts, files->count);
    mp_pool_close(pool);
    mp_pool_join(pool);
done:
    mp_pool_free(&pool);
    free(errors);
    free(counts);
    free(names);
    return good;
}
