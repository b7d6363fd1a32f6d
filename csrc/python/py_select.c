/* gomem.select.
 *
 * Called by the interpreter.
 *
 * Concurrency: see py_goroutine.h: values are converted before the caller is entered.
 * Go: select; reflect.Select, of which the answer has the form.
 */
#include "python/py_goroutine.h"

enum { FEW = 8, MAX_CASES = 65536 };

struct select {
    Py_ssize_t n;
    struct py_chan **chans; /* NULL: nil; borrowed from the arguments */
    union slot *slots;      /* of what is sent */
    bool *sends;
    Py_ssize_t packed;      /* cases whose slots are set */
    struct py_chan *few_chans[FEW];
    union slot few_slots[FEW];
    bool few_sends[FEW];
};

static bool select_room(struct select *s, Py_ssize_t n)
{
    *s = (struct select){.n = n, .chans = s->few_chans, .slots = s->few_slots, .sends = s->few_sends};
    if (n <= FEW)
        return true;
    if (n > MAX_CASES) {
        PyErr_Format(PyExc_ValueError, "a select has at most %d cases, not %zd", MAX_CASES, n);
        return false;
    }
    size_t one = sizeof *s->chans + sizeof *s->slots + sizeof *s->sends;
    s->slots = PyMem_Calloc((size_t)n, one);
    if (s->slots == NULL) {
        PyErr_NoMemory();
        return false;
    }
    s->chans = (struct py_chan **)(s->slots + n);
    s->sends = (bool *)(s->chans + n);
    return true;
}

/* Gives up what was to be sent, but for one case; and the room. */
static void select_end(struct select *s, Py_ssize_t sent)
{
    for (Py_ssize_t i = 0; i < s->packed; i++)
        if (s->sends[i] && s->chans[i] != NULL && i != sent)
            elem_drop(s->chans[i], &s->slots[i]);
    if (s->slots != s->few_slots)
        PyMem_Free(s->slots);
}

static bool wrong_case(PyObject *arg, Py_ssize_t i)
{
    PyErr_Format(PyExc_TypeError,
                 "case %zd of a select must be a channel to receive from, a tuple (channel, value) to "
                 "send, or None, not %.200R",
                 i, arg);
    return false;
}

/* The channel that an argument names, for one direction; NULL for None. false: none, or the wrong direction. */
static bool chan_arg(struct state *st, PyObject *arg, bool send, struct py_chan **out)
{
    PyTypeObject *type = Py_TYPE(arg);
    *out = NULL;
    if (arg == Py_None)
        return true;
    if (type != st->chan_type && type != (send ? st->send_chan_type : st->recv_chan_type))
        return false;
    *out = ((struct py_view *)arg)->chan;
    return true;
}

static bool select_parse(struct state *st, struct select *s, PyObject *const *args)
{
    for (Py_ssize_t i = 0; i < s->n; i++) {
        PyObject *arg = args[i], *value = NULL;
        if (PyTuple_CheckExact(arg)) {
            if (PyTuple_GET_SIZE(arg) != 2)
                return wrong_case(arg, i);
            value = PyTuple_GET_ITEM(arg, 1);
            arg = PyTuple_GET_ITEM(arg, 0);
        }
        s->sends[i] = value != NULL;
        if (!chan_arg(st, arg, s->sends[i], &s->chans[i]))
            return wrong_case(args[i], i);
        if (s->sends[i] && s->chans[i] != NULL && !elem_pack(s->chans[i], value, &s->slots[i]))
            return false;
        s->packed = i + 1;
    }
    return true;
}

/* A single case is that operation, as Go compiles it. */
static int single(struct select *s, struct caller *c, bool block, bool *ok)
{
    struct gomem_chan *chan = s->chans[0] == NULL ? NULL : s->chans[0]->chan;
    if (!s->sends[0])
        return (int)gomem_chan_recv(c->g, chan, &c->slot, block, ok);
    *ok = false;
    c->slot = s->slots[0];
    return (int)gomem_chan_send(c->g, chan, &c->slot, block);
}

static int several(struct select *s, struct caller *c, bool block, uint32_t *index, bool *ok)
{
    for (Py_ssize_t i = 0; i < s->n; i++) {
        c->cases[i].chan = s->chans[i] == NULL ? NULL : s->chans[i]->chan;
        c->cases[i].send = s->sends[i];
        c->cases[i].elem = s->sends[i] ? &c->slots[i] : &c->slot;
        if (s->sends[i])
            c->slots[i] = s->slots[i];
    }
    return (int)gomem_select(c->g, c->cases, (uint32_t)s->n, block, index, ok);
}

static PyObject *answer(Py_ssize_t index, PyObject *value, bool ok)
{
    if (value == NULL)
        return NULL;
    PyObject *number = PyLong_FromSsize_t(index);
    PyObject *result = number == NULL ? NULL : PyTuple_New(3);
    if (result == NULL) {
        Py_DECREF(value);
        Py_XDECREF(number);
        return NULL;
    }
    PyTuple_SET_ITEM(result, 0, number);
    PyTuple_SET_ITEM(result, 1, value);
    PyTuple_SET_ITEM(result, 2, Py_NewRef(ok ? Py_True : Py_False));
    return result;
}

static PyObject *select_run(struct state *st, struct select *s, bool block)
{
    uint32_t index = 0;
    bool ok = false;
    struct caller *c = enter(st);
    if (c == NULL || !caller_reserve(c, s->n)) {
        if (c != NULL)
            leave(c);
        select_end(s, -1);
        return NULL;
    }
    int outcome = s->n == 1 ? single(s, c, block, &ok) : several(s, c, block, &index, &ok);
    if (outcome == GOMEM_PARK)
        outcome = wait_parked(st, c, &index, &ok);
    if (outcome == GOMEM_PANICS)
        (void)raise_panic(st, c);
    union slot slot = c->slot;
    leave(c);
    PyObject *result = NULL;
    bool happened = outcome == GOMEM_DONE || outcome == WAIT_INTERRUPTED;
    bool sent = happened && s->sends[index];
    if (outcome == GOMEM_DONE)
        result = sent ? answer(index, Py_NewRef(Py_None), false)
                      : answer(index, elem_unpack(s->chans[index], &slot, ok), ok);
    else if (outcome == GOMEM_WOULD_BLOCK)
        result = answer(-1, Py_NewRef(Py_None), false);
    else if (happened && !sent && ok)
        elem_drop(s->chans[index], &slot);
    select_end(s, sent ? (Py_ssize_t)index : -1);
    return result;
}

PyObject *select_case(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    struct state *st = PyModule_GetState(module);
    bool block = true;
    for (Py_ssize_t i = 0; kwnames != NULL && i < PyTuple_GET_SIZE(kwnames); i++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, i);
        if (PyUnicode_CompareWithASCIIString(name, "default") != 0)
            return PyErr_Format(PyExc_TypeError, "select() has no keyword argument %R", name);
        int has_default = PyObject_IsTrue(args[nargs + i]);
        if (has_default < 0)
            return NULL;
        block = !has_default;
    }
    struct select s;
    if (!select_room(&s, nargs))
        return NULL;
    if (!select_parse(st, &s, args)) {
        select_end(&s, -1);
        return NULL;
    }
    return select_run(st, &s, block);
}
