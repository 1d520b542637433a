/* What a URL says is not trusted: a name is made of it that is one plain name in one directory. The system decides who is first
 * with a name (O_EXCL), so that two workers never write one file. */
#include "examples/download/save.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { NAME_MOST = 100, NUMBER_MOST = 9999 };

/* The last part of a URL's path, "page.html" of "http://host/some/page.html?x#y"; empty if there is none. */
static mp_str last_part(const char *url)
{
    size_t size = strcspn(url, "?#");
    const char *scheme = memmem(url, size, "://", 3), *end = url + size;
    const char *host = scheme ? scheme + 3 : url;
    const char *slash = memrchr(host, '/', (size_t)(end - host));
    return slash ? (mp_str){slash + 1, (size_t)(end - slash - 1)} : (mp_str){0};
}

static bool is_plain(char c, bool first)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (!first && (c == '-' || c == '_' || c == '.'));
}

/* What is not plain becomes '_': so there is no "/", no "..", nothing hidden, and nothing that a shell takes for an option. */
static size_t name_of(const char *url, char name[static NAME_MOST])
{
    mp_str part = last_part(url);
    if (!part.size)
        part = mp_str_of("index.html");
    size_t size = part.size < NAME_MOST ? part.size : NAME_MOST;
    for (size_t i = 0; i < size; i++)
        name[i] = is_plain(part.data[i], i == 0) ? part.data[i] : '_';
    return size;
}

/* "page.html", or "page.html.1", ... A descriptor of the new file; -1 and errno if there can be none. */
static int create(int directory, const char *url, saved *file)
{
    char base[NAME_MOST];
    int size = (int)name_of(url, base), fd = -1;
    snprintf(file->name, sizeof file->name, "%.*s", size, base);
    for (int i = 1; i <= NUMBER_MOST; i++) {
        fd = openat(directory, file->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0 || errno != EEXIST)
            break;
        snprintf(file->name, sizeof file->name, "%.*s.%d", size, base, i);
    }
    return fd;
}

static bool write_all(int fd, mp_bytes body)
{
    const char *next = body.data;
    for (size_t left = body.size; left;) {
        ssize_t count = write(fd, next, left);
        if (count < 0 && errno != EINTR)
            return false;
        if (count > 0) {
            next += count;
            left -= (size_t)count;
        }
    }
    return true;
}

/* 0, or errno's number. */
static int save_into(int directory, const char *url, mp_bytes body, saved *file)
{
    int fd = create(directory, url, file);
    if (fd < 0)
        return errno;
    int error = write_all(fd, body) ? 0 : errno;
    if (close(fd) && !error) /* some file systems say only now that they are full */
        error = errno;
    if (error)
        unlinkat(directory, file->name, 0);
    return error;
}

mp_status save(const char *directory, const char *url, mp_bytes body, saved *file, mp_error *error)
{
    *file = (saved){.bytes = body.size};
    *error = (mp_error){0};
    int fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int wrong = fd < 0 ? errno : save_into(fd, url, body, file);
    if (fd >= 0)
        close(fd);
    if (!wrong)
        return MP_OK;
    return mp_error_set(error, MP_ESYSTEM, "cannot write %.200s/%s: %s", directory, file->name, strerror(wrong));
}
