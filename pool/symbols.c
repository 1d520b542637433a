/* The text of a backtrace: reads the raw lines, asks what is at each address, leaves out what is the library's own.
 *
 * Decides what a line looks like, and where the backtrace ends: with the user's task, for below it there is only what calls tasks in
 * a worker, the same each time. That begins at mp__call_run, whose name the program's symbols have unless it was stripped; then, at
 * the functions of libmillpond.so at the end. Owns nothing between calls: files are opened and closed for each backtrace, so that a
 * program that prints one keeps no descriptor for it. Any thread; `lock` keeps them apart, because libdw wants it so, and is held
 * while files are read: nobody takes it who holds another. What cannot be found out is not in the text; the module and the offset
 * in it always are. */
#include "pool/symbols.h"
#include "pool/forks.h"
#include "serial/memory.h"
#include "serial/text.h"
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { FRAMES_MAX = 128, INLINED_MAX = 8, ENTRIES_MAX = 256 };

static pthread_mutex_t *const lock = &mp__forks.symbols; /* libdw has one user at a time */

typedef struct frame {
    uintptr_t address;
    size_t offset;
    char module[4096]; /* "?": it was in no file */
} frame;

/* A function in a frame; one frame may have several, which the compiler has put together. */
typedef struct entry {
    const frame *frame;
    mp__symbol symbol;
} entry;

typedef struct backtrace {
    size_t frame_count, entry_count;
    frame frames[FRAMES_MAX];
    entry entries[ENTRIES_MAX];
} backtrace;

/* "0x55d0c0ffee42 /usr/bin/survey+0x1e42": a path may have blanks and plus signs in it. False: it is no such line. */
static bool read_frame(const char *line, size_t size, frame *into)
{
    char text[sizeof into->module + 64], *rest;
    if (size >= sizeof text)
        return false;
    memcpy(text, line, size);
    text[size] = 0;
    into->address = (uintptr_t)strtoull(text, &rest, 16);
    char *plus = strrchr(text, '+');
    if (rest == text || *rest != ' ' || !plus || plus <= rest + 1 || (size_t)(plus - rest) > sizeof into->module)
        return false;
    *plus = 0;
    strcpy(into->module, rest + 1);
    char *end;
    into->offset = (size_t)strtoull(plus + 1, &end, 16);
    return end > plus + 1 && *end == 0;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static bool is_ours(const entry *at)
{
    return !strncmp(base_name(at->frame->module), "libmillpond.so", strlen("libmillpond.so"));
}

/* How many are above what calls tasks. All, if there is no such thing, or nothing above it. */
static size_t count_above(const entry *entries, size_t count)
{
    size_t above = 0, last = count;
    while (above < count && strcmp(entries[above].symbol.function, "mp__call_run") != 0)
        above++;
    if (above == count) { /* stripped, it may be: from the last of ours up, while they are ours */
        while (last > 0 && !is_ours(&entries[last - 1]))
            last--;
        while (last > 0 && is_ours(&entries[last - 1]))
            above = --last;
    }
    return above > 0 ? above : count;
}

/* The last one may be what MP_TASK has put around the user's function: it goes, or has that name if the function is within it. */
static size_t count_shown(entry *entries, size_t count)
{
    static const char wrapper[] = "mp__run_";
    size_t shown = count_above(entries, count);
    if (shown == 0 || strncmp(entries[shown - 1].symbol.function, wrapper, strlen(wrapper)) != 0)
        return shown;
    char *function = entries[shown - 1].symbol.function;
    memmove(function, function + strlen(wrapper), strlen(function + strlen(wrapper)) + 1);
    return shown > 1 && !strcmp(entries[shown - 2].symbol.function, function) ? shown - 1 : shown;
}

static void print_entry(mp__sink *sink, size_t number, const entry *at)
{
    const mp__symbol *symbol = &at->symbol;
    const char *module = at->frame->module;
    mp__sink_print(sink, "#%zu ", number);
    if (!strcmp(module, "?"))
        mp__sink_print(sink, "0x%" PRIxPTR " (no code is there)\n", at->frame->address);
    else if (symbol->function[0] && symbol->file[0])
        mp__sink_print(sink, "%s at %s:%d (%s)\n", symbol->function, symbol->file, symbol->line, base_name(module));
    else if (symbol->function[0])
        mp__sink_print(sink, "%s+0x%zx (%s)\n", symbol->function, symbol->offset, base_name(module));
    else if (symbol->file[0])
        mp__sink_print(sink, "%s:%d (%s)\n", symbol->file, symbol->line, base_name(module));
    else
        mp__sink_print(sink, "%s+0x%zx\n", module, at->frame->offset);
}

static char *print_all(backtrace *all)
{
    size_t shown = count_shown(all->entries, all->entry_count);
    mp__sink sink = {0};
    for (size_t i = 0; i < shown; i++)
        print_entry(&sink, i, &all->entries[i]);
    size_t size = sink.length + 1;
    char *text = mp__memory.malloc(size);
    if (!text)
        return NULL;
    sink = mp__sink_over(text, size);
    for (size_t i = 0; i < shown; i++)
        print_entry(&sink, i, &all->entries[i]);
    return text;
}

/* One entry at least for each frame; what follows the first frame are places to which calls return. */
static void find_entries(backtrace *all)
{
    mp__symbol found[INLINED_MAX];
    pthread_mutex_lock(lock);
    mp__debug_files *files = mp__debug_files_open();
    for (size_t i = 0; i < all->frame_count; i++) {
        const frame *at = &all->frames[i];
        size_t count = files ? mp__debug_files_find(files, at->module, at->offset, i > 0, found, INLINED_MAX) : 0;
        if (count == 0)
            found[count++] = (mp__symbol){0};
        for (size_t k = 0; k < count && all->entry_count < ENTRIES_MAX; k++)
            all->entries[all->entry_count++] = (entry){at, found[k]};
    }
    mp__debug_files_close(files);
    pthread_mutex_unlock(lock);
}

char *mp__symbols_text(const char *text, size_t size)
{
    backtrace *all = mp__memory.calloc(1, sizeof *all);
    if (!all)
        return NULL;
    const char *end = text + size, *newline;
    for (; all->frame_count < FRAMES_MAX && (newline = memchr(text, '\n', (size_t)(end - text))); text = newline + 1)
        all->frame_count += read_frame(text, (size_t)(newline - text), &all->frames[all->frame_count]);
    find_entries(all);
    char *made = print_all(all);
    free(all);
    return made;
}
