/* Blocks: the memory that a value owns which a call gave (type.h), and how its data lie in there. */
#ifndef MP__SERIAL_BLOCK_H
#define MP__SERIAL_BLOCK_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* How a block of memory is owned: blocks of one result form a ring, and 8 bytes before each datum in a block stands a
 * pointer to its block. mp_free_values finds them again that way. */
typedef struct mp__block {
    struct mp__block *next; /* ring: itself when alone */
    bool held;              /* what is freed is somebody's copy of the value; the one that owns it is elsewhere */
    bool keeps;             /* it is worth keeping when it is freed */
    uint32_t lead;          /* bytes of its memory that lie before it */
} mp__block;

/* What will be in a block: summed up before there is one, and again, with the same steps, to fill it. */
typedef struct mp__layout {
    size_t used;  /* bytes that are taken, from the block's start */
    size_t align; /* what the block has to be aligned to */
    size_t limit; /* of `used` */
} mp__layout;

enum { MP__BLOCK_WORD = sizeof(mp__block *) };

static inline mp__layout mp__layout_empty(size_t limit)
{
    return (mp__layout){.used = sizeof(mp__block), .align = MP__BLOCK_WORD, .limit = limit};
}

static inline bool mp__layout_is_empty(const mp__layout *layout)
{
    return layout->used == sizeof(mp__block);
}

/* Takes room for a datum and the word before it; `*begin` is where it lies. False: over the limit, nothing has changed. */
static inline bool mp__layout_take(mp__layout *layout, size_t size, size_t align, size_t *begin)
{
    align = align < MP__BLOCK_WORD ? MP__BLOCK_WORD : align;
    *begin = (layout->used + MP__BLOCK_WORD + align - 1) & ~(align - 1);
    if (*begin > layout->limit || size > layout->limit - *begin)
        return false;
    layout->used = *begin + size;
    layout->align = align > layout->align ? align : layout->align;
    return true;
}

static inline void mp__block_put_word(uint8_t *datum, mp__block *owner)
{
    memcpy(datum - MP__BLOCK_WORD, &owner, sizeof owner);
}

/* A block for what was taken, a ring of its own. NULL: no memory. */
mp__block *mp__block_create(const mp__layout *layout);
mp__block *mp__block_allocate(size_t size, size_t align); /* the same for so many bytes; aligned to a power of two */
void mp__block_free(mp__block *block);                    /* the ring, unless it is held; NULL is fine */
/* Gives back what was freed and is kept for the next. True if there was something. */
bool mp__block_let_go(void);

/* Holds what a value owns: copies of the value, pointers and all, may be handed out, and mp_free_values of one frees nothing.
 * Until it is let go. With the type, as there: free.c. */
struct mp_type;
void mp__block_hold(const struct mp_type *type, const void *value, bool held);

#endif
