/* Sleeping for the result of the only item that is under way, on a word that its worker shares. */
#ifndef MP__PROCESS_DOZE_H
#define MP__PROCESS_DOZE_H
#include "pool/process/link.h"

typedef struct mp__doze {
    bool expects;       /* the link that is sent something next is armed, */
    uint64_t awake_ns;  /* and watched for so long, before anybody sleeps */
    mp__link *link;     /* that is armed; NULL: none */
    mp__shared *shared; /* the link's then: its life may be over since */
    uint32_t value;     /* with which; see mp__shared.asleep */
    bool dozed;         /* the memory is kept for us */
} mp__doze;

/* Somebody is going to wait for what is sent next; so long awake. */
void mp__doze_expect(mp__doze *doze, uint64_t awake_ns);
/* Before something is sent to this worker. */
void mp__doze_arm(mp__doze *doze, mp__link *link);
/* The word, on which to sleep as long as it is `*value`. NULL: there is no such. Until the end of it the word stays where it is. */
_Atomic uint32_t *mp__doze_begin(mp__doze *doze, uint32_t *value);
/* Nobody waits any more. True: there is something in the link's buffer. */
bool mp__doze_end(mp__doze *doze);

#endif
