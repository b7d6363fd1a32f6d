/* Giving memory back to the OS: on demand, before growing past a limit, and slowly in the background.
 *
 * Pages are released from the highest address down, whole huge pages where possible, densely used
 * chunks last. The background scavenger works while the heap holds more than its goals and sleeps so
 * long between steps that it takes about 1 % of a CPU; the proportion is kept by a PI controller.
 * Its state is a struct of its own so that tests drive it on a virtual clock.
 *
 * Called by mheap (before growing), by the runtime (its thread, release_os_memory) and by the
 * collector (pacing).
 *
 * Concurrency: scavenge* may be called by any thread with no heap lock held. A struct
 * scavenger_control belongs to the thread that runs it. Goals are atomic.
 * Go: mgcscavenge.go.
 */
#ifndef GOMEM_HEAP_SCAVENGE_H
#define GOMEM_HEAP_SCAVENGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mheap;
struct page_bits;
struct chunk_data;

/* Releases up to about nbytes; returns how many. force: dense chunks and fresh frees too. */
size_t scavenge(struct mheap *h, size_t nbytes, bool force);
/* The same on behalf of an allocation, accounted as assist. */
size_t scavenge_assist(struct mheap *h, size_t nbytes, bool force);
/* Releases everything that is free (debug.FreeOSMemory). */
size_t scavenge_all(struct mheap *h);

/* Sets the background goals from the memory limit and from this and the last cycle's heap goals;
 * heap_inuse: bytes in spans at the end of the last cycle. last_heap_goal 0: no cycle yet. */
void scavenge_pace(struct mheap *h, uint64_t memory_limit, uint64_t heap_goal,
                   uint64_t last_heap_goal, uint64_t heap_inuse);
/* The goal from the memory limit alone. */
void scavenge_pace_limit(struct mheap *h, uint64_t memory_limit);
/* A cycle ended: what was freed since the last becomes visible to the background. */
void scavenge_next_generation(struct mheap *h);

/* The largest run ending at or below page `from` that is free and backed, for release: [*start,
 * *start + result) pages, result 0 if there is none. Runs begin and end at multiples of `min` pages
 * (a power of two); at most `max` pages, except to complete a huge page. */
unsigned find_scavenge_candidate(const struct chunk_data *c, unsigned from, unsigned min,
                                 unsigned max, unsigned huge_pages, unsigned *start);

struct pi_controller {
    double kp, ti, tt; /* proportional gain, integral time, reset time (ns) */
    double min, max;
    double integral;
};

/* The next output; false if the input made no sense (the controller has been reset). */
bool pi_controller_next(struct pi_controller *c, double input, double setpoint, double period,
                        double *output);

struct scavenger_control {
    double sleep_ratio; /* time working / time sleeping */
    struct pi_controller controller;
    double cooldown; /* ns to go before the controller is trusted again */
};

void scavenger_control_init(struct scavenger_control *s);
/* One step of at least a millisecond's work; *worked receives its duration in ns. Returns the bytes
 * released; 0: goals met or nothing left. */
size_t scavenger_step(struct mheap *h, double *worked);
/* How long to sleep (ns) after working for `worked` ns. */
double scavenger_sleep_time(const struct scavenger_control *s, double worked);
/* Learns from a sleep of `slept` ns after `worked` ns of work on a machine of `procs` Ps. */
void scavenger_slept(struct scavenger_control *s, double worked, double slept, unsigned procs);

#endif
