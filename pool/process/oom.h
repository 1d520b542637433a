/* Whether the kernel has killed a process of our cgroup because memory ran out. */
#ifndef MP__PROCESS_OOM_H
#define MP__PROCESS_OOM_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MP__OOM_PATH = 1024 };

typedef struct mp__oom {
    char path[MP__OOM_PATH]; /* of the file that counts; "": there is none */
    uint64_t known;          /* kills that we know of */
} mp__oom;

/* Kills before this do not count. `proc`: "/proc/self/cgroup"; `mounts`: "/sys/fs/cgroup". */
void mp__oom_begin(mp__oom *oom, const char *proc, const char *mounts);
/* True if there was one that nobody has asked about. To be asked for each death that may be one. */
bool mp__oom_struck(mp__oom *oom);

/* "oom_kill 3" in the lines of memory.events (v2) or memory.oom_control (v1). False: it is not there. */
bool mp__oom_count(const char *text, uint64_t *count);
/* Where that file is, by a line of /proc/self/cgroup, without its end. False: the line is not about memory, or too long. */
bool mp__oom_path(const char *line, const char *mounts, char path[MP__OOM_PATH]);

#endif
