/* A test program executed again for a pool becomes its worker here, before Criterion has a say: a constructor, because main is
 * Criterion's. By now tasks have registered themselves (their constructors have a priority), and the ledger is there. glibc hands
 * constructors the arguments of main. */
#include <millpond/main.h>

__attribute__((constructor)) static void respawn(int argc, char **argv)
{
    mp_main(argc, argv);
}
