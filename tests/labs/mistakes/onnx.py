"""Lab `onnx`: plausible wrong answers (code, words that the message must hold), and right variants."""

MISTAKES = {
    "run_graph": [
        (
            """
def my_run_graph(nodes, tensors, kernels):
    known = dict(tensors)
    for n in nodes:
        known[n.output] = kernels[n.type](*(known[name] for name in n.inputs), **n.attributes)
    return known
""",
            "a node ran before the tensors that it reads were there",
        ),
        (
            """
def my_run_graph(nodes, tensors, kernels):
    known, waiting = dict(tensors), list(nodes)
    while waiting:
        n = waiting.pop(0)
        if all(name in known for name in n.inputs):
            known[n.output] = kernels[n.type](*(known[name] for name in n.inputs), **n.attributes)
        else:
            waiting.append(n)
    return known
""",
            "a loop that never ends",
        ),
        (
            """
def my_run_graph(nodes, tensors, kernels):
    known, waiting = dict(tensors), list(nodes)
    for _ in nodes:
        for n in list(waiting):
            if all(name in known for name in n.inputs):
                known[n.output] = kernels[n.type](*(known[name] for name in n.inputs), **n.attributes)
                waiting.remove(n)
    return known
""",
            "dropped without a word",
        ),
        (
            """
def my_run_graph(nodes, tensors, kernels):
    known, waiting = dict(tensors), list(nodes)
    while waiting:
        ready = [n for n in waiting if all(name in known for name in n.inputs)]
        if not ready:
            raise ValueError
        for n in ready:
            known[n.output] = kernels[n.type](*(known[name] for name in n.inputs))
            waiting.remove(n)
    return known
""",
            "attributes of the node were not passed on",
        ),
        (
            """
def my_run_graph(nodes, tensors, kernels):
    waiting = list(nodes)
    while waiting:
        ready = [n for n in waiting if all(name in tensors for name in n.inputs)]
        if not ready:
            raise ValueError
        for n in ready:
            tensors[n.output] = kernels[n.type](*(tensors[name] for name in n.inputs), **n.attributes)
            waiting.remove(n)
    return tensors
""",
            "changed its argument 2 in place",
        ),
        (
            """
def my_run_graph(nodes, tensors, kernels):
    known, waiting, made = dict(tensors), list(nodes), {}
    while waiting:
        ready = [n for n in waiting if all(name in known for name in n.inputs)]
        if not ready:
            raise ValueError
        for n in ready:
            made[n.output] = kernels[n.type](*(known[name] for name in n.inputs), **n.attributes)
            known[n.output] = made[n.output]
            waiting.remove(n)
    return made
""",
            "only some of the tensors were returned",
        ),
        (
            """
def my_run_graph(nodes, tensors, kernels):
    known, waiting = dict(tensors), list(nodes)
    while waiting:
        ready = [n for n in waiting if all(name in known for name in n.inputs)]
        if not ready:
            raise ValueError
        for n in ready:
            known[n.output] = kernels[n.type](*(known[name] for name in reversed(n.inputs)), **n.attributes)
            waiting.remove(n)
    return known
""",
            "another order than the node lists them",
        ),
    ],
    "window": [
        (
            """
def my_window_size(size, kernel, stride=1, pads=(0, 0), dilation=1):
    return -(-(size + sum(pads) - dilation * (kernel - 1) - 1) // stride) + 1
""",
            "broken step was counted",
        ),
        (
            """
def my_window_size(size, kernel, stride=1, pads=(0, 0), dilation=1):
    return (size + sum(pads) - dilation * (kernel - 1) - 1) / stride + 1
""",
            "not rounded down",
        ),
        (
            """
def my_window_size(size, kernel, stride=1, pads=(0, 0), dilation=1):
    return (size + sum(pads) - dilation * (kernel - 1) - 1) // stride
""",
            "first place is missing",
        ),
        (
            """
def my_window_size(size, kernel, stride=1, pads=(0, 0), dilation=1):
    return (size + pads[0] - dilation * (kernel - 1) - 1) // stride + 1
""",
            "counted at one end",
        ),
        (
            """
def my_window_size(size, kernel, stride=1, pads=(0, 0), dilation=1):
    return (size + 2 * pads[0] - dilation * (kernel - 1) - 1) // stride + 1
""",
            "taken for both ends",
        ),
        (
            """
def my_window_size(size, kernel, stride=1, pads=(0, 0), dilation=1):
    return (size + sum(pads) - kernel) // stride + 1
""",
            "dilation was ignored",
        ),
        (
            """
def my_window_size(size, kernel, stride=1, pads=(0, 0), dilation=1):
    return (size + sum(pads) - dilation * kernel) // stride + 1
""",
            "one less than elements",
        ),
        (
            """
def my_window_size(size, kernel, stride=1, pads=(0, 0), dilation=1):
    return size + sum(pads) - dilation * (kernel - 1)
""",
            "stride was ignored",
        ),
        (
            """
def my_window_size(size, kernel, stride=1, pads=(0, 0), dilation=1):
    return (size - dilation * (kernel - 1) - 1) // stride + 1
""",
            "padding was ignored",
        ),
    ],
    "fold": [
        (
            """
def my_fold(weight, bias, gamma, beta, mean, variance, epsilon):
    factor = gamma / (np.sqrt(variance) + epsilon)
    return weight * factor.reshape(-1, *[1] * (weight.ndim - 1)), (bias - mean) * factor + beta
""",
            "epsilon belongs under the root",
        ),
        (
            """
def my_fold(weight, bias, gamma, beta, mean, variance, epsilon):
    factor = gamma / (variance + epsilon)
    return weight * factor.reshape(-1, *[1] * (weight.ndim - 1)), (bias - mean) * factor + beta
""",
            "the root is missing",
        ),
        (
            """
def my_fold(weight, bias, gamma, beta, mean, variance, epsilon):
    factor = gamma / np.sqrt(variance)
    return weight * factor.reshape(-1, *[1] * (weight.ndim - 1)), (bias - mean) * factor + beta
""",
            "epsilon was left out",
        ),
        (
            """
def my_fold(weight, bias, gamma, beta, mean, variance, epsilon):
    factor = gamma / np.sqrt(variance + epsilon)
    return weight * factor.reshape(1, -1, *[1] * (weight.ndim - 2)), (bias - mean) * factor + beta
""",
            "along the input channels",
        ),
        (
            """
def my_fold(weight, bias, gamma, beta, mean, variance, epsilon):
    factor = gamma / np.sqrt(variance + epsilon)
    return weight * factor.reshape(-1, *[1] * (weight.ndim - 1)), beta - mean * factor
""",
            "bias of the convolution was lost",
        ),
        (
            """
def my_fold(weight, bias, gamma, beta, mean, variance, epsilon):
    factor = gamma / np.sqrt(variance + epsilon)
    return weight * factor.reshape(-1, *[1] * (weight.ndim - 1)), bias * factor - mean + beta
""",
            "mean was not multiplied",
        ),
        (
            """
def my_fold(weight, bias, gamma, beta, mean, variance, epsilon):
    factor = gamma / np.sqrt(variance + epsilon)
    return weight * factor.reshape(-1, *[1] * (weight.ndim - 1)), (bias + mean) * factor + beta
""",
            "subtracted, not added",
        ),
        (
            """
def my_fold(weight, bias, gamma, beta, mean, variance, epsilon):
    factor = gamma / np.sqrt(variance + epsilon)
    return weight * factor.reshape(-1, *[1] * (weight.ndim - 1)), bias
""",
            "bias was left as it was",
        ),
        (
            """
def my_fold(weight, bias, gamma, beta, mean, variance, epsilon):
    factor = 1 / np.sqrt(variance + epsilon)
    return weight * factor.reshape(-1, *[1] * (weight.ndim - 1)), (bias - mean) * factor + beta
""",
            "gamma is missing",
        ),
    ],
    "needed": [
        (
            """
def my_needed_nodes(nodes, outputs):
    return [node for node in nodes if node.output in outputs]
""",
            "only the nodes that make the outputs",
        ),
        (
            """
def my_needed_nodes(nodes, outputs):
    last = max(i for i, node in enumerate(nodes) if node.output in outputs)
    return list(nodes[: last + 1])
""",
            "everything in the file up to the output",
        ),
        (
            """
def my_needed_nodes(nodes, outputs):
    maker = {node.output: node for node in nodes}
    found = set()
    for name in outputs:
        while name in maker:
            found.add(name)
            name = maker[name].inputs[0]
    return [node for node in nodes if node.output in found]
""",
            "only the first input of each node",
        ),
        (
            """
def my_needed_nodes(nodes, outputs):
    maker = {node.output: node for node in nodes}
    wanted, kept = list(outputs), []
    while wanted:
        name = wanted.pop()
        if name in maker and maker[name] not in kept:
            kept.append(maker[name])
            wanted.extend(maker[name].inputs)
    return kept
""",
            "order",
        ),
        (
            """
def my_needed_nodes(nodes, outputs):
    maker = {node.output: node for node in nodes}
    wanted, found = list(outputs), set()
    while wanted:
        name = wanted.pop()
        if name in maker and name not in found:
            found.add(name)
            wanted.extend(maker[name].inputs)
    return [node.output for node in nodes if node.output in found]
""",
            "names were returned",
        ),
        (
            """
def my_needed_nodes(nodes, outputs):
    wanted = set(outputs)
    for node in nodes:
        if node.output in wanted:
            wanted |= set(node.inputs)
    return [node for node in nodes if node.output in wanted]
""",
            "the walk ended after one step back",
        ),
    ],
    "serve": [
        (
            """
def my_serve(path, images, provider="CPUExecutionProvider"):
    session = ort.InferenceSession(str(path), providers=[provider])
    x = images.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    return session.run(None, {session.get_inputs()[0].name: x})[0]
""",
            "fell back to the processor without an error",
        ),
        (
            """
def my_serve(path, images, provider="CPUExecutionProvider"):
    session = ort.InferenceSession(str(path), providers=[provider])
    if provider not in session.get_providers():
        raise RuntimeError(provider)
    x = images.reshape(-1, 3, 32, 32).astype(np.float32) / np.float32(255)
    return session.run(None, {session.get_inputs()[0].name: x})[0]
""",
            "reshape does not move the channels",
        ),
        (
            """
def my_serve(path, images, provider="CPUExecutionProvider"):
    session = ort.InferenceSession(str(path), providers=[provider])
    if provider not in session.get_providers():
        raise RuntimeError(provider)
    x = images.transpose(0, 3, 1, 2).astype(np.float32)
    return session.run(None, {session.get_inputs()[0].name: x})[0]
""",
            "the bytes were not scaled",
        ),
        (
            """
def my_serve(path, images, provider="CPUExecutionProvider"):
    session = ort.InferenceSession(str(path), providers=[provider])
    if provider not in session.get_providers():
        raise RuntimeError(provider)
    x = images.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    return session.run(None, {"input": x})[0]
""",
            "name of the input is typed in",
        ),
        (
            """
def my_serve(path, images, provider="CPUExecutionProvider"):
    session = ort.InferenceSession(str(path), providers=[provider])
    if provider not in session.get_providers():
        raise RuntimeError(provider)
    x = images.T.transpose(3, 0, 1, 2).astype(np.float32) / np.float32(255)
    return session.run(None, {session.get_inputs()[0].name: x})[0]
""",
            "height and width changed places",
        ),
        (
            """
def my_serve(path, images, provider="CPUExecutionProvider"):
    session = ort.InferenceSession(str(path), providers=[provider])
    if provider not in session.get_providers():
        raise RuntimeError(provider)
    x = images.transpose(0, 3, 1, 2) / 255
    return session.run(None, {session.get_inputs()[0].name: x})[0]
""",
            "Unexpected input data type",
        ),
    ],
    "dense": [
        (
            """
def my_dense_graph(layers):
    nodes, constants, last = [], {}, "input"
    for i, (weight, bias, relu) in enumerate(layers):
        constants[f"w{i}"], constants[f"b{i}"] = weight, bias
        nodes.append(Node("Gemm", (last, f"w{i}", f"b{i}"), f"dense{i}"))
        nodes.append(Node("Relu", (f"dense{i}",), f"relu{i}"))
        last = f"relu{i}"
    return nodes, constants, last
""",
            "a Relu follows every layer, also where none is wanted",
        ),
        (
            """
def my_dense_graph(layers):
    nodes, constants, last = [], {}, "input"
    for i, (weight, bias, relu) in enumerate(layers):
        constants[f"w{i}"], constants[f"b{i}"] = weight.T, bias
        nodes.append(Node("Gemm", (last, f"w{i}", f"b{i}"), f"dense{i}"))
        last = f"dense{i}"
        if relu:
            nodes.append(Node("Relu", (last,), f"relu{i}"))
            last = f"relu{i}"
    return nodes, constants, last
""",
            "weights are transposed",
        ),
        (
            """
def my_dense_graph(layers):
    nodes, constants, last = [], {}, "input"
    for i, (weight, bias, relu) in enumerate(layers):
        constants[f"w{i}"] = weight
        nodes.append(Node("MatMul", (last, f"w{i}"), f"dense{i}"))
        last = f"dense{i}"
        if relu:
            nodes.append(Node("Relu", (last,), f"relu{i}"))
            last = f"relu{i}"
    return nodes, constants, last
""",
            "biases are missing",
        ),
        (
            """
def my_dense_graph(layers):
    nodes, constants, last = [], {}, "input"
    for i, (weight, bias, relu) in enumerate(layers):
        constants["w"], constants["b"] = weight, bias
        nodes.append(Node("Gemm", (last, "w", "b"), f"dense{i}"))
        last = f"dense{i}"
        if relu:
            nodes.append(Node("Relu", (last,), f"relu{i}"))
            last = f"relu{i}"
    return nodes, constants, last
""",
            "the names of another's",
        ),
        (
            """
def my_dense_graph(layers):
    nodes, constants, last = [], {}, "input"
    for i, (weight, bias, relu) in enumerate(layers):
        constants[f"w{i}"], constants[f"b{i}"] = weight, bias
        nodes.append(Node("Gemm", (last, f"w{i}", f"b{i}"), f"dense{i}"))
        last = f"dense{i}"
        if relu:
            nodes.append(Node("Relu", (last,), f"relu{i}"))
    return nodes, constants, last
""",
            "Likely mistake:",
        ),
        (
            """
def my_dense_graph(layers):
    nodes, constants, last = [], {}, "input"
    for i, (weight, bias, relu) in enumerate(layers):
        constants[f"w{i}"], constants[f"b{i}"] = weight, bias
        nodes.append(Node("Gemm", (last, f"w{i}", f"b{i}"), "dense"))
        last = "dense"
        if relu:
            nodes.append(Node("Relu", (last,), f"relu{i}"))
            last = f"relu{i}"
    return nodes, constants, last
""",
            "two nodes make a tensor of the same name",
        ),
        (
            """
def my_dense_graph(layers):
    nodes, constants, last = [], {}, "input"
    for i, (weight, bias, relu) in enumerate(layers):
        nodes.append(Node("Gemm", (last, f"w{i}", f"b{i}"), f"dense{i}"))
        last = f"dense{i}"
        if relu:
            nodes.append(Node("Relu", (last,), f"relu{i}"))
            last = f"relu{i}"
    return nodes, constants, last
""",
            "no node makes and no constant has",
        ),
    ],
}

VARIANTS = {
    "run_graph": [
        """
def my_run_graph(nodes, tensors, kernels):
    known = {**tensors}
    rest = list(nodes)
    while rest:
        for place, n in enumerate(rest):
            if set(n.inputs) <= known.keys():
                known[n.output] = kernels[n.type](*[known[i] for i in n.inputs], **n.attributes)
                del rest[place]
                break
        else:
            raise ValueError("no node can run")
    return known
""",
        """
def my_run_graph(nodes, tensors, kernels):
    known, maker = dict(tensors), {n.output: n for n in nodes}

    def value(name):
        if name not in known:
            if name not in maker:
                raise ValueError(name)
            n = maker[name]
            known[name] = kernels[n.type](*map(value, n.inputs), **n.attributes)
        return known[name]

    for n in nodes:
        value(n.output)
    return known
""",
    ],
    "window": [
        """
def my_window_size(size, kernel, stride=1, pads=(0, 0), dilation=1):
    reach = dilation * (kernel - 1) + 1
    return len(range(0, size + pads[0] + pads[1] - reach + 1, stride))
""",
        """
def my_window_size(size, kernel, stride=1, pads=(0, 0), dilation=1):
    return int(np.floor((size + sum(pads) - dilation * (kernel - 1) - 1) / stride)) + 1
""",
        """
def my_window_size(size, kernel, stride=1, pads=(0, 0), dilation=1):
    return np.floor((size + sum(pads) - dilation * (kernel - 1) - 1) / stride + 1)
""",
    ],
    "fold": [
        """
def my_fold(weight, bias, gamma, beta, mean, variance, epsilon):
    new, shift = np.empty_like(weight), np.empty_like(bias)
    for i in range(len(weight)):
        factor = gamma[i] / (variance[i] + epsilon) ** 0.5
        new[i], shift[i] = weight[i] * factor, (bias[i] - mean[i]) * factor + beta[i]
    return new, shift
""",
        """
def my_fold(weight, bias, gamma, beta, mean, variance, epsilon):
    factor = gamma * (variance + epsilon) ** -0.5
    return np.einsum("o...,o->o...", weight, factor), beta + factor * bias - factor * mean
""",
        """
def my_fold(weight, bias, gamma, beta, mean, variance, epsilon):
    factor = (gamma / np.sqrt(variance + epsilon)).astype(np.float32)
    return [(weight.T * factor).T, (bias - mean) * factor + beta]
""",
    ],
    "needed": [
        """
def my_needed_nodes(nodes, outputs):
    wanted = set(outputs)
    while True:
        more = wanted | {i for n in nodes if n.output in wanted for i in n.inputs}
        if more == wanted:
            return [n for n in nodes if n.output in wanted]
        wanted = more
""",
        """
def my_needed_nodes(nodes, outputs):
    maker, found = {n.output: n for n in nodes}, set()

    def visit(name):
        if name in maker and name not in found:
            found.add(name)
            for i in maker[name].inputs:
                visit(i)

    for name in outputs:
        visit(name)
    return tuple(n for n in nodes if n.output in found)
""",
    ],
    "serve": [
        """
def my_serve(path, images, provider="CPUExecutionProvider"):
    if provider not in ort.get_available_providers():
        raise RuntimeError(f"{provider} is not in this build")
    session = ort.InferenceSession(str(path), providers=[provider])
    x = np.moveaxis(images, -1, 1).astype(np.float32) / 255
    return session.run(None, {session.get_inputs()[0].name: x.astype(np.float32)})[0]
""",
        """
def my_serve(path, images, provider="CPUExecutionProvider"):
    session = ort.InferenceSession(str(path), providers=[provider])
    if provider not in session.get_providers():
        raise RuntimeError(f"wanted {provider}")
    name = session.get_inputs()[0].name
    x = np.stack([(image / 255).astype(np.float32).transpose(2, 0, 1) for image in images])
    return np.concatenate([session.run(None, {name: x[i : i + 8]})[0] for i in range(0, len(x), 8)])
""",
    ],
    "dense": [
        """
def my_dense_graph(layers):
    nodes, constants, last = [], {}, "input"
    for i, (weight, bias, relu) in enumerate(layers):
        constants.update({f"weight_{i}": weight, f"bias_{i}": bias})
        nodes.append(Node("MatMul", (last, f"weight_{i}"), f"product_{i}"))
        nodes.append(Node("Add", (f"product_{i}", f"bias_{i}"), f"sum_{i}"))
        last = f"sum_{i}"
        if relu:
            nodes.append(Node("Relu", (last,), f"active_{i}"))
            last = f"active_{i}"
    return nodes, constants, last
""",
        """
def my_dense_graph(layers):
    nodes, constants, last = (), {}, "input"
    for i, (weight, bias, relu) in enumerate(layers):
        constants[f"w{i}"], constants[f"b{i}"] = weight.T.copy(), bias
        nodes += (Node("Gemm", (last, f"w{i}", f"b{i}"), f"g{i}", {"transB": 1}),)
        last = f"g{i}"
        if relu:
            nodes += (Node("Relu", (last,), f"r{i}"),)
            last = f"r{i}"
    return nodes, constants, last
""",
    ],
}
