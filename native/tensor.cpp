#include "tensor.hpp"

#include <cstdint>

namespace nb = nanobind;

namespace throughtime {
namespace {

/// DLPack 1.3: how a library offers its tensors to others. Only what is called here has its type.
struct ExchangeTable {
    std::uint32_t major, minor;
    ExchangeTable* older;
    void *allocate, *managed_from_object, *object_from_managed;
    int (*view_from_object)(void* object, nb::dlpack::dltensor* view);
};

struct Torch {
    PyTypeObject* tensor;
    PyObject* is_neg;
    const ExchangeTable* table;

    Torch() {
        const nb::object type = nb::module_::import_("torch").attr("Tensor");
        const nb::object capsule = type.attr("__dlpack_c_exchange_api__");
        table = static_cast<const ExchangeTable*>(PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
        if (!table || table->major != 1) throw nb::import_error("PyTorch's exchange of tensors is of an unknown version");
        // Both live as long as the process.
        is_neg = nb::object(type.attr("is_neg")).release().ptr();
        tensor = reinterpret_cast<PyTypeObject*>(nb::object(type).release().ptr());
    }
};

}  // namespace

bool look(PyObject* object, Tensor& tensor) {
    static const Torch torch;
    if (!PyObject_TypeCheck(object, torch.tensor)) return false;
    tensor.given = true;
    if (torch.table->view_from_object(object, &tensor) != 0) {
        PyErr_Clear();  // it has no memory: `readable` says so
        return true;
    }
    PyObject* const negative = PyObject_CallOneArg(torch.is_neg, object);
    tensor.readable = negative == Py_False && tensor.data && tensor.device.device_type == nb::device::cpu::value;
    Py_XDECREF(negative);
    return true;
}

}  // namespace throughtime
