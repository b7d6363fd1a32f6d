/* Heap and sort of the frontier.
 *
 * Called through frontier.h.
 *
 * The sort is pattern-defeating quicksort (Peters, 2021) with the constants of Go's. Only where
 * entries have the same time does it matter which sort it is: nearly always the frontier is as good
 * as sorted and its times differ, so that inserting each entry in its place does the same.
 *
 * Concurrency: see frontier.h.
 * Go: see frontier.h; slices/zsortanyfunc.go.
 */
#include "gotrace/frontier.h"

#include <stdlib.h>
#include <string.h>

enum {
    MAX_INSERTED = 12, /* as many are sorted by insertion */
    MIN_NINTHER = 50,  /* of as many the pivot is a median of medians */
    MAX_SWAPS = 4 * 3, /* by which it may be found: then they are in descending order */
    MAX_SHIFTED = 5,
    MAX_MOVES = 8, /* an entry, so that an array is nearly sorted */
};

typedef struct frontier_entry entry;

bool frontier_init(struct frontier *f, size_t threads)
{
    f->n = 0;
    f->at = calloc(threads + 1, sizeof *f->at);
    f->spare = calloc(threads + 1, sizeof *f->spare);
    return f->at != NULL && f->spare != NULL;
}

void frontier_free(struct frontier *f)
{
    free(f->at);
    free(f->spare);
}

/* --- The heap --- */

/* Moves entry i up to where it belongs; where that is. */
static size_t sift_up(struct frontier *f, size_t i)
{
    entry e = f->at[i];
    for (; i > 0 && f->at[(i - 1) / 2].time > e.time; i = (i - 1) / 2)
        f->at[i] = f->at[(i - 1) / 2];
    f->at[i] = e;
    return i;
}

static void sift_down(struct frontier *f, size_t i)
{
    entry e = f->at[i];
    for (size_t child; (child = 2 * i + 1) < f->n; i = child) {
        if (child + 1 < f->n && f->at[child + 1].time < f->at[child].time)
            child++;
        if (f->at[child].time >= e.time)
            break;
        f->at[i] = f->at[child];
    }
    f->at[i] = e;
}

void frontier_insert(struct frontier *f, struct frontier_entry e)
{
    f->at[f->n] = e;
    (void)sift_up(f, f->n++);
}

void frontier_update(struct frontier *f, size_t i, uint64_t time)
{
    f->at[i].time = time;
    if (sift_up(f, i) == i)
        sift_down(f, i);
}

void frontier_remove(struct frontier *f, size_t i)
{
    for (; i > 0; i = (i - 1) / 2)
        f->at[i] = f->at[(i - 1) / 2];
    f->at[0] = f->at[--f->n];
    if (f->n > 0)
        sift_down(f, 0);
}

/* --- The sort --- */

static void swap(entry *a, entry *b)
{
    entry e = *a;
    *a = *b;
    *b = e;
}

/* Gives up (false) after so many moves. *ties: there are entries with the same time. */
static bool sort_by_insertion(entry *a, ptrdiff_t n, ptrdiff_t moves, bool *ties)
{
    *ties = false;
    for (ptrdiff_t i = 1; i < n; i++) {
        entry e = a[i];
        ptrdiff_t j = i;
        for (; j > 0 && e.time < a[j - 1].time; j--)
            a[j] = a[j - 1];
        a[j] = e;
        *ties |= j > 0 && a[j - 1].time == e.time;
        moves -= i - j;
        if (moves < 0)
            return false;
    }
    return true;
}

/* The latest of a[0..n) moves to where it belongs below i. */
static void sink(entry *a, ptrdiff_t i, ptrdiff_t n)
{
    for (ptrdiff_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && a[child].time < a[child + 1].time)
            child++;
        if (a[i].time >= a[child].time)
            return;
        swap(&a[i], &a[child]);
    }
}

static void sort_by_heap(entry *a, ptrdiff_t n)
{
    for (ptrdiff_t i = (n - 1) / 2; i >= 0; i--)
        sink(a, i, n);
    for (ptrdiff_t i = n - 1; i >= 0; i--) {
        swap(&a[0], &a[i]);
        sink(a, 0, i);
    }
}

/* Orders two indices by what is there. */
static void order_two(const entry *a, ptrdiff_t *i, ptrdiff_t *j, unsigned *swaps)
{
    if (a[*j].time >= a[*i].time)
        return;
    ptrdiff_t k = *i;
    *i = *j;
    *j = k;
    ++*swaps;
}

static ptrdiff_t median(const entry *a, ptrdiff_t i, ptrdiff_t j, ptrdiff_t k, unsigned *swaps)
{
    order_two(a, &i, &j, swaps);
    order_two(a, &j, &k, swaps);
    order_two(a, &i, &j, swaps);
    return j;
}

/* pre: n > MAX_INSERTED. */
static ptrdiff_t choose_pivot(const entry *a, ptrdiff_t n, unsigned *swaps)
{
    ptrdiff_t i = n / 4, j = n / 4 * 2, k = n / 4 * 3;
    *swaps = 0;
    if (n >= MIN_NINTHER) {
        i = median(a, i - 1, i, i + 1, swaps);
        j = median(a, j - 1, j, j + 1, swaps);
        k = median(a, k - 1, k, k + 1, swaps);
    }
    return median(a, i, j, k, swaps);
}

static void reverse(entry *a, ptrdiff_t n)
{
    for (ptrdiff_t i = 0, j = n - 1; i < j; i++, j--)
        swap(&a[i], &a[j]);
}

/* Puts a few entries that are out of order into their places; true: now all are. */
static bool sort_nearly_sorted(entry *a, ptrdiff_t n)
{
    ptrdiff_t i = 1;
    for (unsigned shifted = 0; shifted < MAX_SHIFTED; shifted++) {
        while (i < n && a[i].time >= a[i - 1].time)
            i++;
        if (i == n)
            return true;
        if (n < MIN_NINTHER)
            return false;
        swap(&a[i], &a[i - 1]);
        if (i >= 2)
            for (ptrdiff_t j = i - 1; j >= 1 && a[j].time < a[j - 1].time; j--)
                swap(&a[j], &a[j - 1]);
        if (n - i >= 2)
            for (ptrdiff_t j = i + 1; j < n && a[j].time < a[j - 1].time; j++)
                swap(&a[j], &a[j - 1]);
    }
    return false;
}

/* Swaps three in the middle with others, so that the next pivot is a better one. */
static void break_patterns(entry *a, ptrdiff_t n)
{
    uint64_t random = (uint64_t)n, mask = ((uint64_t)2 << (63 - __builtin_clzll((uint64_t)n))) - 1;
    ptrdiff_t middle = n / 4 * 2;
    for (ptrdiff_t i = middle - 1; i <= middle + 1; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        ptrdiff_t other = (ptrdiff_t)(random & mask);
        swap(&a[i], &a[other >= n ? other - n : other]);
    }
}

/* Moves those that are earlier than the pivot before it, the others behind it; where it is then.
 * *sorted: nothing but the pivot had to move. */
static ptrdiff_t partition(entry *a, ptrdiff_t n, ptrdiff_t pivot, bool *sorted)
{
    swap(&a[0], &a[pivot]);
    ptrdiff_t i = 1, j = n - 1;
    for (*sorted = true;; *sorted = false) {
        while (i <= j && a[i].time < a[0].time)
            i++;
        while (i <= j && a[j].time >= a[0].time)
            j--;
        if (i > j)
            break;
        swap(&a[i++], &a[j--]);
    }
    swap(&a[j], &a[0]);
    return j;
}

/* Moves those of the pivot's time to the front; how many these are. pre: none is earlier. */
static ptrdiff_t partition_equal(entry *a, ptrdiff_t n, ptrdiff_t pivot)
{
    swap(&a[0], &a[pivot]);
    for (ptrdiff_t i = 1, j = n - 1;;) {
        while (i <= j && a[0].time >= a[i].time)
            i++;
        while (i <= j && a[0].time < a[j].time)
            j--;
        if (i > j)
            return i;
        swap(&a[i++], &a[j--]);
    }
}

/* `before`: how many entries, none of them later, the array has before a; `bad`: how many pivots
 * may still turn out to be bad. */
static void sort_by_partition(entry *a, ptrdiff_t n, ptrdiff_t before, unsigned bad)
{
    bool balanced = true, sorted = true;
    while (n > MAX_INSERTED && bad > 0) {
        if (!balanced) {
            break_patterns(a, n);
            bad--;
        }
        unsigned swaps;
        ptrdiff_t pivot = choose_pivot(a, n, &swaps);
        if (swaps == MAX_SWAPS) {
            reverse(a, n);
            pivot = n - 1 - pivot;
            swaps = 0;
        }
        if (balanced && sorted && swaps == 0 && sort_nearly_sorted(a, n))
            return;
        ptrdiff_t left;
        if (before > 0 && a[-1].time >= a[pivot].time) {
            left = partition_equal(a, n, pivot);
        } else {
            left = partition(a, n, pivot, &sorted);
            ptrdiff_t right = n - left, enough = n / 8;
            if (left >= right) {
                balanced = right >= enough;
                sort_by_partition(a + left + 1, right - 1, before + left + 1, bad);
                n = left;
                continue;
            }
            balanced = left >= enough;
            sort_by_partition(a, left, before, bad);
            left++;
        }
        a += left;
        n -= left;
        before += left;
    }
    bool ties;
    if (n > MAX_INSERTED)
        sort_by_heap(a, n);
    else
        (void)sort_by_insertion(a, n, n * n, &ties);
}

void frontier_sort(struct frontier *f)
{
    ptrdiff_t n = (ptrdiff_t)f->n;
    entry *as_it_was = f->at;
    bool ties;
    memcpy(f->spare, f->at, f->n * sizeof *f->at);
    bool done = sort_by_insertion(f->spare, n, MAX_MOVES * n, &ties);
    if (done && (!ties || n <= MAX_INSERTED)) {
        f->at = f->spare;
        f->spare = as_it_was;
        return;
    }
    sort_by_partition(f->at, n, 0, 64 - (unsigned)__builtin_clzll((uint64_t)n));
}
