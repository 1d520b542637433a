/* A link's beginning and end: pipes, shared memory, and files for what is printed, where that is captured. The worker's ends are made
 * here too, and go to it with the zygote's help; what fails leaves nothing. Under the pool's lock. */
#include "pool/failure.h"
#include "pool/process/link.h"
#include "pool/system.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* A pipe, both ends above the standard descriptors. */
static bool make_pipe(int *reading, int *writing)
{
    int ends[2];
    if (mp__system.pipe2(ends, O_CLOEXEC) < 0)
        return false;
    *reading = mp__above_standard(ends[0]);
    *writing = mp__above_standard(ends[1]);
    return *reading >= 0 && *writing >= 0;
}

/* Theirs are the same open files. */
static bool set_up_output(mp__link *link, int theirs[MP__CAPTURED])
{
    for (int i = 0; i < MP__CAPTURED; i++) {
        link->output_fds[i] = mp__capture_make();
        theirs[i] = link->output_fds[i] < 0 ? -1 : fcntl(link->output_fds[i], F_DUPFD_CLOEXEC, 3);
        if (theirs[i] < 0)
            return false;
    }
    return true;
}

/* Where files are limited to less, to try it would raise SIGXFSZ. */
static bool may_be_as_large(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur >= sizeof(mp__shared))
        return true;
    errno = EFBIG;
    return false;
}

static bool set_up(mp__link *link, int size, int theirs[MP__CONTROL_FDS])
{
    if (!make_pipe(&link->reading_fd, &link->tasks_fd) || !make_pipe(&link->results_fd, &theirs[1]))
        return false;
    theirs[0] = link->reading_fd;
    fcntl(link->tasks_fd, F_SETFL, O_NONBLOCK); /* of our ends only: each end of a pipe has flags of its own */
    fcntl(link->results_fd, F_SETFL, O_NONBLOCK);
    fcntl(link->tasks_fd, F_SETPIPE_SZ, size); /* asked for, not needed: what is given is taken */
    fcntl(link->results_fd, F_SETPIPE_SZ, size);
    theirs[2] = mp__above_standard(mp__system.memfd_create("millpond", MFD_CLOEXEC));
    if (theirs[2] < 0 || !may_be_as_large() || mp__system.ftruncate(theirs[2], sizeof(mp__shared)) < 0)
        return false;
    void *shared = mp__system.mmap(NULL, sizeof(mp__shared), PROT_READ | PROT_WRITE, MAP_SHARED, theirs[2], 0);
    link->shared = shared == MAP_FAILED ? NULL : shared;
    if (link->shared) {
        link->shared->limits = link->terms->limits;
        atomic_store_explicit(&link->shared->life, link->life.before, memory_order_relaxed);
    }
    return link->shared && (!link->terms->capture || set_up_output(link, theirs + MP__CONTROL_FEW));
}

void mp__link_init(mp__link *link)
{
    *link = (mp__link){.tasks_fd = -1, .results_fd = -1, .reading_fd = -1, .output_fds = {-1, -1}};
}

bool mp__link_open(mp__link *link, const mp__terms *terms, mp__life life, int pipe_size, int theirs[MP__CONTROL_FDS])
{
    mp__link_fini(link);
    mp__link_init(link);
    link->life = life;
    link->terms = terms;
    for (int i = 0; i < MP__CONTROL_FDS; i++)
        theirs[i] = -1;
    mp__frame_reader_init(&link->reader, MP__FROM_WORKER, MP_ITEM_SIZE_MAX);
    if (set_up(link, pipe_size, theirs)) {
        link->state = MP__LINK_OPEN;
        return true;
    }
    mp__system_failure(&link->error, errno, "no pipes or memory for worker %u", life.place);
    for (int i = 1; i < MP__CONTROL_FDS; i++)
        close_fd(&theirs[i]);
    mp__link_close(link);
    return false;
}

/* The error and what is owed stay: they are told after the link is closed. */
void mp__link_close(mp__link *link)
{
    close_fd(&link->tasks_fd);
    close_fd(&link->results_fd);
    close_fd(&link->reading_fd);
    for (int i = 0; i < MP__CAPTURED; i++)
        close_fd(&link->output_fds[i]);
    if (link->dozed)
        mp__word_rouse(&link->shared->asleep);
    else if (link->shared)
        munmap(link->shared, sizeof *link->shared);
    link->dozed = false;
    link->shared = NULL;
    mp__outbox_fini(&link->outbox);
    mp__frame_reader_fini(&link->reader);
    link->state = MP__LINK_NONE;
}

void mp__link_fini(mp__link *link)
{
    mp__remains_fini(&link->remains);
    link->evidence = (mp__evidence){0};
}
