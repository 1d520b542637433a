/* The table of system calls; system.h says what it is for. Set before any thread of ours exists, then only read. */
#include "pool/system.h"

mp__system_calls mp__system = {
    .fork = fork,
    .pipe2 = pipe2,
    .socketpair = socketpair,
    .memfd_create = memfd_create,
    .ftruncate = ftruncate,
    .mmap = mmap,
    .epoll_create1 = epoll_create1,
    .epoll_ctl = epoll_ctl,
    .read = read,
    .writev = writev,
    .sendmsg = sendmsg,
    .recvmsg = recvmsg,
};
