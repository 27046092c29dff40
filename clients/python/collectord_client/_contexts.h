/* A look into the tree in which a context keeps its variables (CPython's Python/hamt.c), past the API: what the API takes for one
   variable is longer than all else that a call does. Where anything looks otherwise than it should, nothing is found. */

/* The types of what a context keeps its variables in, a mapping and the nodes of its tree; NULL where `_learn_tree` does not
   find its way about there. */
static PyTypeObject *mapping_kind = NULL, *node_kind = NULL;

/* Bytes from the beginning of a context to its mapping, of a mapping to the root of its tree, of a node to its pairs of a
   variable and its value; 0: unknown. */
static Py_ssize_t mapping_at = 0, root_at = 0, pairs_at = 0;

static void trust_tree(PyObject *mapping, PyObject *node) {
    mapping_kind = mapping == Py_None ? NULL : (PyTypeObject *)mapping;
    node_kind = node == Py_None ? NULL : (PyTypeObject *)node;
    mapping_at = root_at = pairs_at = 0;
}

#define POINTER_AT(object, offset) (*(PyObject **)((char *)(object) + (offset)))

/* Where in `holder`, of a type without items, a pointer to `held` stands; 0: nowhere, or more than once. */
static Py_ssize_t offset_of(PyObject *holder, PyObject *held) {
    Py_ssize_t at, found = 0;
    for (at = sizeof(PyObject); at + (Py_ssize_t)sizeof(PyObject *) <= Py_TYPE(holder)->tp_basicsize; at += sizeof(PyObject *)) {
        if (POINTER_AT(holder, at) != held) continue;
        if (found) return 0;
        found = at;
    }
    return found;
}

static int take_mapping(PyObject *seen, void *into) {
    if (Py_TYPE(seen) != mapping_kind) return 0;
    *(PyObject **)into = seen;
    return 1;
}

static int take_root(PyObject *seen, void *into) {
    *(PyObject **)into = seen;
    return 1;
}

/* Learns the offsets from the current context, which has nothing but `variable`, with `value`. */
static void learn_offsets(PyObject *variable, PyObject *value) {
    PyObject *context = PyThreadState_Get()->context, *mapping = NULL, *root = NULL;
    Py_ssize_t pairs;
    if (!mapping_kind || !context) return;
    Py_TYPE(context)->tp_traverse(context, take_mapping, &mapping);
    if (!mapping) return;
    mapping_kind->tp_traverse(mapping, take_root, &root);
    if (!root || Py_TYPE(root) != node_kind || Py_SIZE(root) != 2 || node_kind->tp_itemsize != sizeof(PyObject *)) return;
    pairs = node_kind->tp_basicsize;
    if (POINTER_AT(root, pairs) != variable || POINTER_AT(root, pairs + sizeof(PyObject *)) != value) return;
    mapping_at = offset_of(context, mapping);
    root_at = offset_of(mapping, root);
    if (mapping_at && root_at) pairs_at = pairs;
}

/* The root of the current context's variables, if it is one of few; else NULL. */
static CYTHON_INLINE PyObject *small_root(PyObject **mapping) {
    PyObject *context, *root;
    if (!pairs_at) return NULL;
    context = PyThreadState_Get()->context;
    if (!context) return NULL;
    *mapping = POINTER_AT(context, mapping_at);
    root = POINTER_AT(*mapping, root_at);
    return Py_TYPE(root) == node_kind ? root : NULL;
}

/* A variable's value, borrowed, where it stands in the root, or in a node right below it, which `*below` then is: there are
   those whose hashes begin alike. NULL: in neither; `*nowhere` says whether not at all. */
static CYTHON_INLINE PyObject *value_in(PyObject *root, PyObject *variable, PyObject **below, int *nowhere) {
    PyObject **pair = &POINTER_AT(root, pairs_at), **end = pair + Py_SIZE(root), **inner, **inner_end;
    *below = NULL;
    *nowhere = 1;
    for (; pair < end; pair += 2) {
        if (*pair == variable) return pair[1];
        if (*pair) continue;
        if (Py_TYPE(pair[1]) != node_kind) {
            *nowhere = 0;
            continue;
        }
        inner = &POINTER_AT(pair[1], pairs_at);
        for (inner_end = inner + Py_SIZE(pair[1]); inner < inner_end; inner += 2) {
            if (*inner == variable) {
                *below = pair[1];
                return inner[1];
            }
            if (!*inner) *nowhere = 0;
        }
    }
    return NULL;
}

/* A variable's value, borrowed, if it is found so and only the current context has it; else NULL. */
static CYTHON_INLINE PyObject *own_value(PyObject *variable) {
    PyObject *mapping, *below, *value, *root = small_root(&mapping);
    int nowhere;
    if (!root || Py_REFCNT(mapping) != 1 || Py_REFCNT(root) != 1) return NULL;
    value = value_in(root, variable, &below, &nowhere);
    return value && Py_REFCNT(value) == 1 && (!below || Py_REFCNT(below) == 1) ? value : NULL;
}

/* A variable's value, borrowed, as PyContextVar_Get tells it, which takes longest for one that is not set: then this says
   `unset`. NULL: it has to be asked. */
static CYTHON_INLINE PyObject *glance(PyObject *variable, PyObject *unset) {
    PyObject *mapping, *below, *value, *root = small_root(&mapping);
    int nowhere;
    if (!root) return NULL;
    value = value_in(root, variable, &below, &nowhere);
    return value ? value : nowhere ? unset : NULL;
}

enum { ALONE = 1, SHARED };

static int look_for(PyObject *seen, void *wanted) {
    int found;
    if (seen == (PyObject *)wanted) return ALONE;
    if (Py_TYPE(seen) != node_kind) return 0;
    found = node_kind->tp_traverse(seen, look_for, wanted);
    return found && Py_REFCNT(seen) > 1 ? SHARED : found;
}

/* Whether only the current context has a variable with this value, to which the caller holds the other reference. A copy
   of a context shares its immutable mapping, and a mapping that was changed since shares its nodes or has the value
   once more: so a copy, wherever it is, adds a reference on the way. Whatever else adds one only makes this say no. */
static int is_alone(PyObject *value) {
    PyObject *context = PyThreadState_Get()->context, *mapping = NULL, *root = NULL;
    if (!mapping_kind || !context || Py_REFCNT(value) != 2) return 0;
    Py_TYPE(context)->tp_traverse(context, take_mapping, &mapping);
    if (!mapping || Py_REFCNT(mapping) != 1) return 0;
    mapping_kind->tp_traverse(mapping, take_root, &root);
    return root && Py_REFCNT(root) == 1 && Py_TYPE(root)->tp_traverse(root, look_for, value) == ALONE;
}
