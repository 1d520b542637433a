/* The process's id, known without asking: libc has not kept it since 2.25.
 *
 * Owns one page, mapped before main, that the kernel gives to every child as zeros, however that was forked: so what stands there is
 * this process's own, or not known yet. Any thread, no lock: all write the same. Where there is no such page it asks. */
#include "pool/process_id.h"
#include <sys/mman.h>
#include <unistd.h>

_Atomic pid_t *mp__known_process_id;

__attribute__((constructor(101))) static void take_page(void)
{
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    void *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return;
    if (madvise(page, size, MADV_WIPEONFORK) == 0)
        mp__known_process_id = page;
    else
        munmap(page, size);
}

pid_t mp__ask_process_id(void)
{
    pid_t id = getpid();
    if (mp__known_process_id)
        atomic_store_explicit(mp__known_process_id, id, memory_order_relaxed);
    return id;
}
