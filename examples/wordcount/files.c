/* Walks with fts(3), which minds loops and deep trees; reads with read(2), which says what went wrong. */
#include "examples/wordcount/files.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- finding ---- */

static bool paths_grow(paths *list)
{
    size_t capacity = list->capacity ? 2 * list->capacity : 256;
    char **items = realloc(list->items, capacity * sizeof *items);
    if (!items)
        return false;
    list->items = items;
    list->capacity = capacity;
    return true;
}

bool paths_add(paths *list, const char *format, ...)
{
    if (list->count == list->capacity && !paths_grow(list))
        return false;
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(&list->items[list->count], format, arguments);
    va_end(arguments);
    if (length < 0)
        return false;
    list->count++;
    return true;
}

void paths_fini(paths *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i]);
    free(list->items);
    *list = (paths){0};
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

bool files_below(const char *root, paths *files, paths *unreadable)
{
    char *roots[] = {(char *)root, NULL};
    FTS *walk = fts_open(roots, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR, by_name);
    bool good = walk;
    while (good) {
        errno = 0;
        FTSENT *entry = fts_read(walk);
        if (!entry) {
            good = errno == 0;
            break;
        }
        if (entry->fts_info == FTS_F)
            good = paths_add(files, "%s", entry->fts_path);
        else if (entry->fts_info == FTS_DNR || entry->fts_info == FTS_ERR || entry->fts_info == FTS_NS)
            good = paths_add(unreadable, "%s: %s", entry->fts_path, strerror(entry->fts_errno));
    }
    if (walk)
        fts_close(walk);
    return good;
}

/* ---- reading ---- */

void content_fini(content *of)
{
    free(of->text);
    *of = (content){0};
}

static bool content_grow(content *of)
{
    size_t capacity = of->capacity ? 2 * of->capacity : 64 * 1024;
    char *text = realloc(of->text, capacity);
    if (!text)
        return false;
    of->text = text;
    of->capacity = capacity;
    return true;
}

static int read_all(content *into, int fd)
{
    for (;;) {
        if (into->size == into->capacity && !content_grow(into))
            return ENOMEM;
        ssize_t got = read(fd, into->text + into->size, into->capacity - into->size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? errno : 0;
        bool first = into->size == 0;
        into->size += (size_t)got;
        into->binary = first && memchr(into->text, 0, (size_t)got);
        if (into->binary)
            return 0;
    }
}

int content_read(content *into, const char *path)
{
    into->size = 0;
    into->binary = false;
    /* O_NONBLOCK: the path may have become a pipe since it was found, and nobody may ever write to it. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return errno;
    struct stat status;
    int error = fstat(fd, &status) ? errno : S_ISREG(status.st_mode) ? read_all(into, fd) : EINVAL;
    if (!error && into->binary)
        into->size = (size_t)status.st_size;
    close(fd);
    return error;
}
