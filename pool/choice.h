/* Which kind of workers, and how many, where that is left to who starts the program: MILLPOND and --millpond (pool.h). */
#ifndef MP__POOL_CHOICE_H
#define MP__POOL_CHOICE_H
#include "pool/backend.h"
#include <millpond/pool.h>

/* Completes what is left open: `.kind` is not 0 any more, `.processes` may be. Takes the choice out of the program's arguments, if
 * there are any, and forgets them. What the kind cannot have is taken out, if it was chosen from outside. MP_EINVAL: what is said
 * cannot be read; then nothing has changed. */
mp_status mp__choice_take(mp_pool_options *options, mp_error *error);

/* NULL: there is no such kind. */
const mp__backend *mp__choice_backend(mp_kind kind);

#endif
