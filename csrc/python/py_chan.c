/* Chan, and its views of one direction.
 *
 * Called by the interpreter. What is sent and received is in the caller's slot (py_goroutine.h).
 *
 * Concurrency: channels have locks of their own; see gomem.h.
 * Go: chan T, chan<- T, <-chan T.
 */
#include "python/py_goroutine.h"

#include <structmember.h>

/* --- Elements --- */

/* isinstance, and what type checkers allow: an int where a float is asked for. */
static int fits(PyObject *check, PyObject *value)
{
    if (PyType_Check(check)) {
        if (Py_TYPE(value) == (PyTypeObject *)check ||
            PyType_IsSubtype(Py_TYPE(value), (PyTypeObject *)check))
            return 1;
        if (check == (PyObject *)&PyFloat_Type || check == (PyObject *)&PyComplex_Type)
            return PyLong_Check(value) ||
                   (check == (PyObject *)&PyComplex_Type && PyFloat_Check(value));
    }
    return PyObject_IsInstance(value, check);
}

static PyObject *type_name(struct py_chan *ch)
{
    if (PyType_Check(ch->type) && ch->elem == NULL)
        return PyObject_GetAttrString(ch->type, "__qualname__");
    return PyObject_Str(ch->type);
}

static bool wrong_element(struct py_chan *ch, PyObject *value)
{
    PyObject *name = type_name(ch);
    if (name != NULL)
        PyErr_Format(PyExc_TypeError, "cannot send %.200R, a %.200s, on a channel of %U", value,
                     Py_TYPE(value)->tp_name, name);
    Py_XDECREF(name);
    return false;
}

bool elem_pack(struct py_chan *ch, PyObject *value, union slot *out)
{
    if (ch->elem != NULL) {
        struct value v;
        if (value_convert(&v, NULL, ch->elem, value, "an element") < 0)
            return false;
        memcpy(out->bytes, v.bytes, sizeof out->bytes);
        return true;
    }
    if (ch->check != NULL && Py_TYPE(value) != (PyTypeObject *)ch->check) {
        int fit = fits(ch->check, value);
        if (fit <= 0)
            return fit < 0 ? false : wrong_element(ch, value);
    }
    out->object = Py_NewRef(value);
    return true;
}

PyObject *elem_unpack(struct py_chan *ch, const union slot *slot, bool ok)
{
    if (!ok)
        return Py_NewRef(ch->zero);
    return ch->elem != NULL ? number_load(ch->elem, slot->bytes) : slot->object;
}

void elem_drop(struct py_chan *ch, const union slot *slot)
{
    if (ch->elem == NULL)
        Py_DECREF(slot->object);
}

/* --- Operations --- */

/* 1: sent; 0: it would block; -1 with an exception. */
static int send_value(struct py_chan *ch, PyObject *value, bool block)
{
    struct state *st = ch->state;
    union slot slot;
    uint32_t index;
    bool ok;
    if (!elem_pack(ch, value, &slot))
        return -1;
    struct caller *c = enter(st);
    if (c == NULL) {
        elem_drop(ch, &slot);
        return -1;
    }
    c->slot = slot;
    int outcome = gomem_chan_send(c->g, ch->chan, &c->slot, block);
    if (outcome == GOMEM_PARK)
        outcome = wait_parked(st, c, &index, &ok);
    if (outcome == GOMEM_PANICS)
        (void)raise_panic(st, c);
    leave(c);
    if (outcome == GOMEM_DONE)
        return 1;
    if (outcome != WAIT_INTERRUPTED)
        elem_drop(ch, &slot);
    return outcome == GOMEM_WOULD_BLOCK ? 0 : -1;
}

/* The same for receiving; 1: *value and *ok are set. */
static int recv_value(struct py_chan *ch, bool block, PyObject **value, bool *ok)
{
    struct state *st = ch->state;
    uint32_t index;
    struct caller *c = enter(st);
    if (c == NULL)
        return -1;
    int outcome = gomem_chan_recv(c->g, ch->chan, &c->slot, block, ok);
    if (outcome == GOMEM_PARK)
        outcome = wait_parked(st, c, &index, ok);
    union slot slot = c->slot;
    leave(c);
    if (outcome == GOMEM_DONE) {
        *value = elem_unpack(ch, &slot, *ok);
        return *value == NULL ? -1 : 1;
    }
    if (outcome == WAIT_INTERRUPTED && *ok)
        elem_drop(ch, &slot);
    return outcome == GOMEM_WOULD_BLOCK ? 0 : -1;
}

/* --- Chan --- */

static PyObject *chan_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"type", "cap", NULL};
    struct state *st = state_of_type(type);
    PyObject *elem, *cap = NULL;
    if (st == NULL || !PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:Chan", names, &elem, &cap))
        return NULL;
    int64_t n = 0;
    if (cap != NULL && cap != Py_None) {
        PyObject *index = PyNumber_Index(cap);
        if (index == NULL)
            return NULL;
        int overflow;
        n = PyLong_AsLongLongAndOverflow(index, &overflow);
        Py_DECREF(index);
        if (overflow != 0)
            n = -1;
    }
    /* What elements are is Python's business: (class or None, zero, Type or None). */
    PyObject *arg = PyTuple_Pack(1, elem);
    PyObject *kind = arg == NULL ? NULL : call_python("gomem.goroutines", "element", arg);
    Py_XDECREF(arg);
    if (kind == NULL)
        return NULL;
    struct py_chan *ch = (struct py_chan *)type->tp_alloc(type, 0);
    PyObject *check, *go_type;
    if (ch == NULL || !PyArg_ParseTuple(kind, "OOO", &check, &ch->zero, &go_type)) {
        if (ch != NULL)
            ch->zero = NULL;
        Py_XDECREF(ch);
        Py_DECREF(kind);
        return NULL;
    }
    ch->target = ch;
    ch->state = st;
    Py_INCREF(ch->zero);
    ch->check = check == Py_None ? NULL : Py_NewRef(check);
    ch->elem = go_type == Py_None ? NULL : (struct py_type *)Py_NewRef(go_type);
    ch->type = Py_NewRef(ch->elem == NULL ? elem : go_type);
    Py_DECREF(kind);
    struct gomem_error err;
    size_t size = ch->elem == NULL ? sizeof(PyObject *) : gomem_type_size(ch->elem->t);
    bool nil = cap == Py_None;
    if (!nil && gomem_chan_new(size, n, &ch->chan, &err) != GOMEM_OK) {
        Py_DECREF(ch);
        return raise_error(st, &err);
    }
    return (PyObject *)ch;
}

static PyObject *chan_nil(PyObject *type, PyObject *elem)
{
    return PyObject_CallFunctionObjArgs(type, elem, Py_None, NULL);
}

static int chan_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct py_chan *ch = (struct py_chan *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(ch->type);
    Py_VISIT(ch->check);
    Py_VISIT(ch->zero);
    Py_VISIT(ch->elem);
    if (ch->chan != NULL && ch->elem == NULL) {
        const union slot *slot;
        for (uint64_t i = 0; (slot = gomem_chan_peek(ch->chan, i)) != NULL; i++)
            Py_VISIT(slot->object);
    }
    return 0;
}

static int chan_clear(PyObject *self)
{
    struct py_chan *ch = (struct py_chan *)self;
    union slot slot;
    if (ch->elem == NULL)
        while (ch->chan != NULL && gomem_chan_drain(ch->chan, &slot))
            Py_DECREF(slot.object);
    return 0;
}

static void chan_dealloc(PyObject *self)
{
    struct py_chan *ch = (struct py_chan *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (ch->weakrefs != NULL)
        PyObject_ClearWeakRefs(self);
    (void)chan_clear(self);
    gomem_chan_delete(ch->chan);
    Py_XDECREF(ch->type);
    Py_XDECREF(ch->check);
    Py_XDECREF(ch->zero);
    Py_XDECREF(ch->elem);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *describe(const char *name, struct py_chan *ch)
{
    PyObject *elem = type_name(ch);
    PyObject *text = NULL;
    if (elem != NULL && ch->chan == NULL)
        text = PyUnicode_FromFormat("<%s of %U: nil>", name, elem);
    else if (elem != NULL)
        text = PyUnicode_FromFormat("<%s of %U: %llu/%llu%s at %p>", name, elem,
                                    (unsigned long long)gomem_chan_len(ch->chan),
                                    (unsigned long long)gomem_chan_cap(ch->chan),
                                    gomem_chan_closed(ch->chan) ? ", closed" : "", (void *)ch->chan);
    Py_XDECREF(elem);
    return text;
}

/* --- Methods, of the channel and its views --- */

static struct py_chan *chan_of(PyObject *self)
{
    return ((struct py_view *)self)->chan;
}

static PyObject *chan_send(PyObject *self, PyObject *value)
{
    if (send_value(chan_of(self), value, true) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *chan_try_send(PyObject *self, PyObject *value)
{
    int sent = send_value(chan_of(self), value, false);
    return sent < 0 ? NULL : PyBool_FromLong(sent);
}

static PyObject *chan_recv(PyObject *self, PyObject *unused)
{
    PyObject *value;
    bool ok;
    (void)unused;
    return recv_value(chan_of(self), true, &value, &ok) < 0 ? NULL : value;
}

static PyObject *recv_pair(struct py_chan *ch, bool block)
{
    PyObject *value;
    bool ok;
    int received = recv_value(ch, block, &value, &ok);
    if (received < 0)
        return NULL;
    if (received == 0)
        Py_RETURN_NONE;
    PyObject *pair = PyTuple_New(2);
    if (pair == NULL) {
        Py_DECREF(value);
        return NULL;
    }
    PyTuple_SET_ITEM(pair, 0, value);
    PyTuple_SET_ITEM(pair, 1, Py_NewRef(ok ? Py_True : Py_False));
    return pair;
}

static PyObject *chan_recv_ok(PyObject *self, PyObject *unused)
{
    (void)unused;
    return recv_pair(chan_of(self), true);
}

static PyObject *chan_try_recv(PyObject *self, PyObject *unused)
{
    (void)unused;
    return recv_pair(chan_of(self), false);
}

static PyObject *chan_next(PyObject *self)
{
    PyObject *value;
    bool ok;
    if (recv_value(chan_of(self), true, &value, &ok) < 0)
        return NULL;
    if (ok)
        return value;
    Py_DECREF(value);
    return NULL;
}

static PyObject *chan_close(PyObject *self, PyObject *unused)
{
    struct py_chan *ch = chan_of(self);
    (void)unused;
    struct caller *c = enter(ch->state);
    if (c == NULL)
        return NULL;
    enum gomem_outcome outcome = gomem_chan_close(c->g, ch->chan);
    PyObject *result =
        outcome == GOMEM_PANICS ? raise_panic(ch->state, c) : Py_NewRef(Py_None);
    leave(c);
    return result;
}

static PyObject *chan_exit(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    (void)args;
    (void)nargs;
    return chan_close(self, NULL);
}

static Py_ssize_t chan_length(PyObject *self)
{
    return (Py_ssize_t)gomem_chan_len(chan_of(self)->chan);
}

static PyObject *chan_get_cap(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLongLong(gomem_chan_cap(chan_of(self)->chan));
}

static PyObject *chan_get_type(PyObject *self, void *unused)
{
    (void)unused;
    return Py_NewRef(chan_of(self)->type);
}

static PyObject *enter_self(PyObject *self, PyObject *unused)
{
    (void)unused;
    return Py_NewRef(self);
}

/* An empty channel is not false: only None is no channel. */
static int always_true(PyObject *self)
{
    (void)self;
    return 1;
}

static PyObject *view_of(PyTypeObject *type, struct py_chan *ch)
{
    struct py_view *view = (struct py_view *)type->tp_alloc(type, 0);
    if (view != NULL)
        view->chan = (struct py_chan *)Py_NewRef(ch);
    return (PyObject *)view;
}

static PyObject *chan_send_only(PyObject *self, PyObject *unused)
{
    (void)unused;
    return view_of(chan_of(self)->state->send_chan_type, chan_of(self));
}

static PyObject *chan_recv_only(PyObject *self, PyObject *unused)
{
    (void)unused;
    return view_of(chan_of(self)->state->recv_chan_type, chan_of(self));
}

static PyObject *chan_repr(PyObject *self)
{
    return describe("Chan", chan_of(self));
}

static PyObject *chan_verify(PyObject *self, PyObject *unused)
{
    (void)unused;
    if (chan_of(self)->chan != NULL)
        gomem_chan_verify(chan_of(self)->chan);
    Py_RETURN_NONE;
}

#define SEND_DOC                                                                                   \
    "send($self, value, /)\n--\n\n"                                                                \
    "Sends, when there is room in the buffer or somebody receives; waits until then (Go: ch <- value).\n" \
    "Raises TypeError for a value that is not of the channel's type, and PanicError if the channel is\n" \
    "closed, or becomes so while this waits."
#define TRY_SEND_DOC                                                                               \
    "try_send($self, value, /)\n--\n\n"                                                            \
    "Sends if that can be done without waiting: was it? Raises as send does."
#define CLOSE_DOC                                                                                  \
    "close($self, /)\n--\n\n"                                                                      \
    "Nothing will be sent any more: who receives gets what is in the buffer, then zero values; who waits\n" \
    "to send gets a PanicError. Raises PanicError if the channel is closed already, or nil."
#define RECV_DOC                                                                                   \
    "recv($self, /)\n--\n\n"                                                                       \
    "What is sent next; waits for it (Go: v := <-ch). The type's zero value when the channel is closed\n" \
    "and empty: 0, '', False, and None for classes."
#define RECV_OK_DOC                                                                                \
    "recv_ok($self, /)\n--\n\n"                                                                    \
    "As recv, and whether it was sent: (value, True), or (zero value, False) when the channel is closed\n" \
    "and empty (Go: v, ok := <-ch)."
#define TRY_RECV_DOC                                                                               \
    "try_recv($self, /)\n--\n\n"                                                                   \
    "As recv_ok, without waiting: None if there is nothing to receive now."

static PyMethodDef chan_methods[] = {
    {"send", chan_send, METH_O, SEND_DOC},
    {"try_send", chan_try_send, METH_O, TRY_SEND_DOC},
    {"recv", chan_recv, METH_NOARGS, RECV_DOC},
    {"recv_ok", chan_recv_ok, METH_NOARGS, RECV_OK_DOC},
    {"try_recv", chan_try_recv, METH_NOARGS, TRY_RECV_DOC},
    {"close", chan_close, METH_NOARGS, CLOSE_DOC},
    {"send_only", chan_send_only, METH_NOARGS,
     "send_only($self, /)\n--\n\nThe same channel, to send on (Go: chan<- T)."},
    {"recv_only", chan_recv_only, METH_NOARGS,
     "recv_only($self, /)\n--\n\nThe same channel, to receive from (Go: <-chan T)."},
    {"nil", chan_nil, METH_O | METH_CLASS,
     "nil($type, type, /)\n--\n\n"
     "A nil channel: sending and receiving wait for ever, a select never chooses it."},
    {"_verify", chan_verify, METH_NOARGS, NULL},
    {"__enter__", enter_self, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)(void (*)(void))chan_exit, METH_FASTCALL, "Closes the channel."},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, NULL},
    {"__reduce__", no_reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef chan_getset[] = {
    {"cap", chan_get_cap, NULL, "How many elements the buffer can hold; 0: there is none.", NULL},
    {"type", chan_get_type, NULL, "What its elements are: a class, or a Type.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef chan_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct py_chan, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot chan_slots[] = {
    {Py_tp_doc,
     "Chan(type, cap=0)\n--\n\n"
     "A channel: values go from who sends to who receives, in order, and both wait for each other.\n\n"
     "type: what its elements are: a class (int, str, one of yours), a union of some, object for anything;\n"
     "or a number type of Go's, \"int64\" or a Type, whose values are copied. cap: elements that wait in a\n"
     "buffer; with 0 a send waits until its value is received.\n\n"
     "Goroutines (gomem.go) and threads may use it alike. len() is how many elements are in the buffer;\n"
     "`for v in ch` receives until the channel is closed; `with ch:` closes it at the end. Raises TypeError\n"
     "for what is no type, and PanicError for a cap that Go would not allow."},
    {Py_tp_new, chan_new},
    {Py_tp_dealloc, chan_dealloc},
    {Py_tp_traverse, chan_traverse},
    {Py_tp_clear, chan_clear},
    {Py_tp_repr, chan_repr},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, chan_next},
    {Py_sq_length, chan_length},
    {Py_nb_bool, always_true},
    {Py_tp_methods, chan_methods},
    {Py_tp_getset, chan_getset},
    {Py_tp_members, chan_members},
    {0, NULL},
};

PyType_Spec chan_spec = {
    .name = "gomem.Chan",
    .basicsize = sizeof(struct py_chan),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = chan_slots,
};

/* --- Views --- */

static void view_dealloc(PyObject *self)
{
    struct py_view *view = (struct py_view *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (view->weakrefs != NULL)
        PyObject_ClearWeakRefs(self);
    Py_XDECREF(view->chan);
    type->tp_free(self);
    Py_DECREF(type);
}

static int view_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((struct py_view *)self)->chan);
    return 0;
}

static PyObject *send_view_repr(PyObject *self)
{
    return describe("SendChan", chan_of(self));
}

static PyObject *recv_view_repr(PyObject *self)
{
    return describe("RecvChan", chan_of(self));
}

/* What the other direction has is missing here, and the message says why. */
static PyObject *view_getattro(PyObject *self, PyObject *name, const char *const *others,
                               const char *what)
{
    PyObject *found = PyObject_GenericGetAttr(self, name);
    if (found != NULL || !PyErr_ExceptionMatches(PyExc_AttributeError))
        return found;
    for (; *others != NULL; others++)
        if (PyUnicode_Check(name) && PyUnicode_CompareWithASCIIString(name, *others) == 0)
            PyErr_Format(PyExc_AttributeError, "%U: %s-only channel", name, what);
    return NULL;
}

static PyObject *send_view_getattro(PyObject *self, PyObject *name)
{
    static const char *const others[] = {"recv", "recv_ok", "try_recv", "recv_only", NULL};
    return view_getattro(self, name, others, "this is a send");
}

static PyObject *recv_view_getattro(PyObject *self, PyObject *name)
{
    static const char *const others[] = {"send", "try_send", "close", "send_only", NULL};
    return view_getattro(self, name, others, "this is a receive");
}

static PyMethodDef send_view_methods[] = {
    {"send", chan_send, METH_O, SEND_DOC},
    {"try_send", chan_try_send, METH_O, TRY_SEND_DOC},
    {"close", chan_close, METH_NOARGS, CLOSE_DOC},
    {"__enter__", enter_self, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)(void (*)(void))chan_exit, METH_FASTCALL, "Closes the channel."},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, NULL},
    {"__reduce__", no_reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef recv_view_methods[] = {
    {"recv", chan_recv, METH_NOARGS, RECV_DOC},
    {"recv_ok", chan_recv_ok, METH_NOARGS, RECV_OK_DOC},
    {"try_recv", chan_try_recv, METH_NOARGS, TRY_RECV_DOC},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, NULL},
    {"__reduce__", no_reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef view_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct py_view, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot send_view_slots[] = {
    {Py_tp_doc, "A channel to send on and to close, not to receive from; made by Chan.send_only()."},
    {Py_tp_dealloc, view_dealloc},
    {Py_tp_traverse, view_traverse},
    {Py_tp_repr, send_view_repr},
    {Py_tp_getattro, send_view_getattro},
    {Py_sq_length, chan_length},
    {Py_nb_bool, always_true},
    {Py_tp_methods, send_view_methods},
    {Py_tp_getset, chan_getset},
    {Py_tp_members, view_members},
    {0, NULL},
};

static PyType_Slot recv_view_slots[] = {
    {Py_tp_doc, "A channel to receive from, not to send on or close; made by Chan.recv_only()."},
    {Py_tp_dealloc, view_dealloc},
    {Py_tp_traverse, view_traverse},
    {Py_tp_repr, recv_view_repr},
    {Py_tp_getattro, recv_view_getattro},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, chan_next},
    {Py_sq_length, chan_length},
    {Py_nb_bool, always_true},
    {Py_tp_methods, recv_view_methods},
    {Py_tp_getset, chan_getset},
    {Py_tp_members, view_members},
    {0, NULL},
};

PyType_Spec send_view_spec = {
    .name = "gomem.SendChan",
    .basicsize = sizeof(struct py_view),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = send_view_slots,
};

PyType_Spec recv_view_spec = {
    .name = "gomem.RecvChan",
    .basicsize = sizeof(struct py_view),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = recv_view_slots,
};
