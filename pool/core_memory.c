/* What a core is made of: allocated when it is created, when more workers are wanted, and when many items wait to be run again; freed
 * with it. Nothing else of the core allocates. Slots and chunks stay where they are for as long as it lives; places move when there are more of them, so nobody
 * keeps a pointer to one. Under the pool's lock, like every other part. */
#include "pool/core_state.h"
#include "serial/memory.h"
#include <assert.h>
#include <string.h>

enum { CHUNKS_PER_WORKER = 32 };

static void block_free(mp__core_block *block)
{
    if (block)
        free(block->slots);
    free(block);
}

static mp__core_block *block_create(uint32_t slots, size_t chunks)
{
    mp__core_block *block = mp__memory.calloc(1, sizeof *block + chunks * sizeof *block->chunks);
    if (!block)
        return NULL;
    block->count = chunks;
    block->slots = slots ? mp__memory.calloc(slots, sizeof *block->slots) : NULL;
    if (block->slots || !slots)
        return block;
    block_free(block);
    return NULL;
}

static void take_block(mp__core *core, mp__core_block *block, uint32_t slots)
{
    block->next = core->blocks;
    core->blocks = block;
    core->chunk_count += block->count;
    for (size_t i = block->count; i-- > 0;)
        mp__chunk_put(core, &block->chunks[i]);
    for (uint32_t i = 0; i < slots; i++) {
        mp__slot *slot = core->slots[core->slot_count] = &block->slots[i];
        slot->index = core->slot_count++;
        slot->kill_at = slot->purge_at = slot->watch.at = slot->overdue.end_at = MP__NEVER;
    }
}

/* `places` and `slots` are larger than those there are. */
static void take_arrays(mp__core *core, mp__place *places, uint32_t place_count, mp__slot **slots)
{
    if (core->place_count) {
        memcpy(places, core->places, core->place_count * sizeof *places);
        memcpy(slots, core->slots, core->slot_count * sizeof *slots);
    }
    for (uint32_t i = core->place_count; i < place_count; i++)
        places[i].last = core->slot_count + i - core->place_count;
    free(core->places);
    free(core->slots);
    core->places = places;
    core->place_count = place_count;
    core->slots = slots;
}

bool mp__core_grow(mp__core *core, uint32_t workers)
{
    if (workers <= core->place_count)
        return true;
    uint32_t more = 2 * (workers - core->place_count);
    size_t chunks = (size_t)(workers - core->place_count) * core->chunks_per_worker + 2 * (size_t)more; /* chunk_reserve */
    mp__slot **slots = mp__memory.calloc(core->slot_count + more, sizeof *slots);
    mp__place *places = mp__memory.calloc(workers, sizeof *places);
    mp__core_block *block = block_create(more, chunks);
    if (!slots || !places || !block) {
        free(slots);
        free(places);
        block_free(block);
        return false;
    }
    take_arrays(core, places, workers, slots);
    take_block(core, block, more);
    return true;
}

/* Half as many again: one for each item that waits to be run again may be needed. */
bool mp__core_grow_chunks(mp__core *core)
{
    mp__core_block *block = block_create(0, core->chunk_count / 2 + CHUNKS_PER_WORKER);
    if (block)
        take_block(core, block, 0);
    return block;
}

mp__core *mp__core_create(const mp__core_config *config)
{
    mp__core *core = mp__memory.calloc(1, sizeof *core);
    if (!core)
        return NULL;
    assert(config->workers > 0);
    core->task_count = config->tasks ? config->tasks : 1;
    core->chunks_per_worker = config->chunks ? config->chunks : CHUNKS_PER_WORKER;
    core->life_items = config->life_items;
    core->unkillable = config->unkillable;
    core->paces = mp__memory.calloc(core->task_count, sizeof *core->paces);
    if (!core->paces || !mp__core_grow(core, config->workers)) {
        mp__core_free(&core);
        return NULL;
    }
    core->counts.wanted = config->workers;
    mp__slots_start(core);
    return core;
}

void mp__core_free(mp__core **core)
{
    if (!*core)
        return;
    for (mp__core_block *block = (*core)->blocks, *next; block; block = next) {
        next = block->next;
        block_free(block);
    }
    free((*core)->slots);
    free((*core)->places);
    free((*core)->paces);
    free(*core);
    *core = NULL;
}
