/* Who has killed a worker does not stand in its status. But the kernel counts, for each cgroup, the processes of it that it killed
 * because memory ran out: cgroup v2 in memory.events, v1 in memory.oom_control. A worker that was killed by SIGKILL, not by us, and
 * for which the count has gone up, was killed for that: as far as can be known. Each kill explains one death, so another process of
 * the cgroup that was killed before may be taken for a worker that somebody killed by hand.
 *
 * Runs under the pool's lock, after such deaths only; reads a file of the kernel's, which does not block. Where that is missing
 * nothing is ever said to be so. */
#include "pool/process/oom.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool mp__oom_count(const char *text, uint64_t *count)
{
    static const char key[] = "oom_kill ";
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        const char *digits = line + sizeof key - 1;
        if (strncmp(line, key, sizeof key - 1) != 0 || *digits < '0' || *digits > '9')
            continue;
        *count = strtoull(digits, NULL, 10);
        return true;
    }
    return false;
}

/* True if the comma-separated list has "memory". */
static bool has_memory(const char *controllers, size_t size)
{
    static const char wanted[] = "memory";
    for (const char *end = controllers + size; controllers < end;) {
        const char *comma = memchr(controllers, ',', (size_t)(end - controllers));
        size_t length = (size_t)((comma ? comma : end) - controllers);
        if (length == sizeof wanted - 1 && !memcmp(controllers, wanted, length))
            return true;
        controllers += length + 1;
    }
    return false;
}

bool mp__oom_path(const char *line, const char *mounts, char path[MP__OOM_PATH])
{
    const char *controllers = strchr(line, ':'), *group = controllers ? strchr(++controllers, ':') : NULL;
    if (!group)
        return false;
    size_t size = (size_t)(group++ - controllers);
    if (size && !has_memory(controllers, size))
        return false;
    int length = snprintf(path, MP__OOM_PATH, "%s%s%s/%s", mounts, size ? "/memory" : "", strcmp(group, "/") ? group : "",
                          size ? "memory.oom_control" : "memory.events");
    return length > 0 && length < MP__OOM_PATH;
}

static bool read_count(const char *path, uint64_t *count)
{
    char text[2048];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    text[got < 0 ? 0 : got] = 0;
    return mp__oom_count(text, count);
}

/* In a container the path may be the host's, while what is mounted is the container's own: then its root is tried. */
static bool find(mp__oom *oom, const char *line, const char *mounts)
{
    char root[MP__OOM_PATH];
    const char *controllers = strchr(line, ':'), *group = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!mp__oom_path(line, mounts, oom->path))
        return false;
    if (read_count(oom->path, &oom->known))
        return true;
    snprintf(root, sizeof root, "%.*s:/", (int)(group - line), line);
    return mp__oom_path(root, mounts, oom->path) && read_count(oom->path, &oom->known);
}

void mp__oom_begin(mp__oom *oom, const char *proc, const char *mounts)
{
    char line[MP__OOM_PATH];
    bool found = false;
    *oom = (mp__oom){.known = 0};
    FILE *file = fopen(proc, "re");
    while (file && !found && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        found = find(oom, line, mounts);
    }
    if (file)
        fclose(file);
    if (!found)
        oom->path[0] = 0;
}

bool mp__oom_struck(mp__oom *oom)
{
    uint64_t count;
    if (!oom->path[0] || !read_count(oom->path, &count) || count <= oom->known)
        return false;
    oom->known++;
    return true;
}
