/* The secret that root and agents have in common (MILLPOND_SECRET), and how each shows that it knows it without saying it. */
#ifndef MP__POOL_CLUSTER_SECRET_H
#define MP__POOL_CLUSTER_SECRET_H
#include <stdbool.h>
#include <stdint.h>

/* Takes it from the environment, once, and out of there: tasks need not know it. */
void mp__secret_take(void);
bool mp__secret_is_set(void);
/* Who knows it can answer a nonce, for himself alone: agents and roots answer differently. */
typedef enum mp__secret_side { MP__SECRET_AGENT = 1, MP__SECRET_ROOT } mp__secret_side;
uint64_t mp__secret_answer(uint64_t nonce, mp__secret_side side);
/* A number that nobody has seen. */
uint64_t mp__secret_nonce(void);

#endif
