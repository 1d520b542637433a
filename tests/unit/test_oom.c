/* Kills for want of memory, as the kernel's files tell them. */
#include "pool/process/oom.h"
#include "tests/lib/check.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(oom, .timeout = 60);

static uint64_t count_in(const char *text)
{
    uint64_t count = 999;
    return mp__oom_count(text, &count) ? count : UINT64_MAX;
}

CHECK(oom, count__is_found_in_both_kinds_of_file)
{
    cr_assert_eq(count_in("low 0\nhigh 7\nmax 12\noom 4\noom_kill 3\noom_group_kill 1\n"), 3);
    cr_assert_eq(count_in("oom_kill_disable 0\nunder_oom 0\noom_kill 17\n"), 17);
    cr_assert_eq(count_in("oom_kill 5"), 5);
    cr_assert_eq(count_in("oom_kill 18446744073709551615\n"), UINT64_MAX);
}

CHECK(oom, count__is_not_invented)
{
    static const char *const texts[] = {"",
                                        "\n\n",
                                        "oom_kill",
                                        "oom_kill \n",
                                        "oom_kill x\n",
                                        "oom 4\n",
                                        "oom_kill_disable 1\n",
                                        "max 2\n oom_kill 1\n",
                                        "oom_kill -1\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        cr_assert_eq(count_in(texts[i]), UINT64_MAX, "%s", texts[i]);
}

static const char *path_by(const char *line)
{
    static char path[MP__OOM_PATH];
    return mp__oom_path(line, "/m", path) ? path : "none";
}

CHECK(oom, path__is_where_the_cgroup_is)
{
    cr_assert_str_eq(path_by("0::/"), "/m/memory.events");
    cr_assert_str_eq(path_by("0::/user.slice/a:b"), "/m/user.slice/a:b/memory.events");
    cr_assert_str_eq(path_by("9:memory:/docker/12"), "/m/memory/docker/12/memory.oom_control");
    cr_assert_str_eq(path_by("9:cpu,memory:/"), "/m/memory/memory.oom_control");
    cr_assert_str_eq(path_by("4:cpu,cpuacct:/x"), "none");
    cr_assert_str_eq(path_by("4:memoryless:/x"), "none");
    cr_assert_str_eq(path_by("nothing"), "none");
    cr_assert_str_eq(path_by(""), "none");
    char line[2 * MP__OOM_PATH];
    memset(line, 'a', sizeof line);
    memcpy(line, "0::/", 4);
    line[sizeof line - 1] = 0;
    cr_assert_str_eq(path_by(line), "none");
}

/* --- with files ------------------------------------------------------------------------------------------------------------ */

static char folder[] = "/tmp/test_oom_XXXXXX";

static const char *in_folder(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void put(const char *name, const char *text)
{
    FILE *file = fopen(in_folder(name), "we");
    cr_assert(file && fputs(text, file) >= 0 && fclose(file) == 0);
}

static mp__oom begin(const char *cgroup)
{
    mp__oom oom;
    char proc[256];
    put("cgroup", cgroup);
    snprintf(proc, sizeof proc, "%s", in_folder("cgroup"));
    mp__oom_begin(&oom, proc, folder);
    return oom;
}

static void clear(void)
{
    static const char *const left[] = {"cgroup", "a/memory.events", "memory.events", "a", ""};
    for (size_t i = 0; i < sizeof left / sizeof *left; i++)
        cr_assert(remove(in_folder(left[i])) == 0 || *left[i]);
}

CHECK(oom, kill_after_the_beginning__explains_one_death)
{
    cr_assert(ne(ptr, mkdtemp(folder), NULL));
    cr_assert_eq(mkdir(in_folder("a"), 0700), 0);
    put("a/memory.events", "oom 1\noom_kill 5\n");
    mp__oom oom = begin("4:cpu:/a\n0::/a\n");
    cr_assert_not(mp__oom_struck(&oom));
    put("a/memory.events", "oom 1\noom_kill 7\n");
    cr_assert(mp__oom_struck(&oom));
    cr_assert(mp__oom_struck(&oom));
    cr_assert_not(mp__oom_struck(&oom));
    clear();
}

CHECK(oom, path_of_the_host__is_tried_at_the_root)
{
    cr_assert(ne(ptr, mkdtemp(folder), NULL));
    put("memory.events", "oom_kill 0\n");
    mp__oom oom = begin("0::/far/away\n");
    put("memory.events", "oom_kill 1\n");
    cr_assert(mp__oom_struck(&oom));
    clear();
}

CHECK(oom, no_file__is_never_said)
{
    cr_assert(ne(ptr, mkdtemp(folder), NULL));
    mp__oom oom = begin("0::/a\n");
    cr_assert_not(mp__oom_struck(&oom));
    put("memory.events", "oom_kill 1\n");
    cr_assert_not(mp__oom_struck(&oom));
    clear();
}
