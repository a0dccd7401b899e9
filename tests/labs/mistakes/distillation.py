"""Lab `distillation`: plausible wrong answers (code, words that the message must hold), and right variants."""

MISTAKES = {
    "soft_targets": [
        (
            """
def my_soft_targets(logits, temperature=1.0):
    z = logits * temperature
    powers = torch.exp(z - z.max(dim=1, keepdim=True).values)
    return powers / powers.sum(dim=1, keepdim=True)
""",
            "divide",
        ),
        (
            """
def my_soft_targets(logits, temperature=1.0):
    powers = torch.exp(logits - logits.max(dim=1, keepdim=True).values)
    return powers / powers.sum(dim=1, keepdim=True) / temperature
""",
            "divide the logits",
        ),
        (
            """
def my_soft_targets(logits, temperature=1.0):
    z = logits / temperature
    powers = torch.exp(z - z.max(dim=0, keepdim=True).values)
    return powers / powers.sum(dim=0, keepdim=True)
""",
            "over the classes",
        ),
        (
            """
def my_soft_targets(logits, temperature=1.0):
    powers = torch.exp(logits / temperature)
    return powers / powers.sum(dim=1, keepdim=True)
""",
            "subtract the largest",
        ),
        (
            """
def my_soft_targets(logits, temperature=1.0):
    powers = torch.exp(logits / temperature)
    return powers / powers.sum()
""",
            "each item has probabilities of its own",
        ),
        (
            """
def my_soft_targets(logits, temperature=1.0):
    z = (logits / temperature).numpy()
    powers = np.exp(z - z.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
""",
            "numpy ends the gradient",
        ),
        (
            """
def my_soft_targets(logits, temperature=1.0):
    z = logits / temperature
    return torch.exp(z - z.max() * 0)
""",
            "divide them by their sum",
        ),
    ],
    "kd_loss": [
        (
            """
def my_kd_loss(student, teacher, temperature):
    log_q = F.log_softmax(student / temperature, dim=1)
    log_p = F.log_softmax(teacher.detach() / temperature, dim=1)
    return (log_p.exp() * (log_p - log_q)).sum(dim=1).mean()
""",
            "T squared is missing",
        ),
        (
            """
def my_kd_loss(student, teacher, temperature):
    log_q = F.log_softmax(student / temperature, dim=1)
    log_p = F.log_softmax(teacher.detach() / temperature, dim=1)
    return temperature * (log_p.exp() * (log_p - log_q)).sum(dim=1).mean()
""",
            "only T was taken",
        ),
        (
            """
def my_kd_loss(student, teacher, temperature):
    log_q = F.log_softmax(student / temperature, dim=1)
    log_p = F.log_softmax(teacher.detach() / temperature, dim=1)
    return temperature**2 * (log_q.exp() * (log_q - log_p)).sum(dim=1).mean()
""",
            "the direction is wrong",
        ),
        (
            """
def my_kd_loss(student, teacher, temperature):
    log_q = F.log_softmax(student / temperature, dim=1)
    p = F.softmax(teacher.detach() / temperature, dim=1)
    return temperature**2 * F.kl_div(log_q, p, reduction="mean")
""",
            "sum over the classes, then mean over the items",
        ),
        (
            """
def my_kd_loss(student, teacher, temperature):
    log_q = F.log_softmax(student / temperature, dim=1)
    log_p = F.log_softmax(teacher.detach(), dim=1)
    return temperature**2 * (log_p.exp() * (log_p - log_q)).sum(dim=1).mean()
""",
            "the teacher needs the same temperature",
        ),
        (
            """
def my_kd_loss(student, teacher, temperature):
    log_q = F.log_softmax(student / temperature, dim=1)
    p = F.softmax(teacher.detach() / temperature, dim=1)
    return -temperature**2 * (p * log_q).sum(dim=1).mean()
""",
            "a perfect student still has a loss",
        ),
        (
            """
def my_kd_loss(student, teacher, temperature):
    log_q = F.log_softmax(student / temperature, dim=1)
    log_p = F.log_softmax(teacher / temperature, dim=1)
    return temperature**2 * (log_p.exp() * (log_p - log_q)).sum(dim=1).mean()
""",
            "the teacher is not detached",
        ),
        (
            """
def my_kd_loss(student, teacher, temperature):
    q = F.softmax(student / temperature, dim=1)
    p = F.softmax(teacher.detach() / temperature, dim=1)
    return temperature**2 * (p * torch.log(p / q)).sum(dim=1).mean()
""",
            "take F.log_softmax of the logits",
        ),
        (
            """
def my_kd_loss(student, teacher, temperature):
    q = F.softmax(student / temperature, dim=1)
    p = F.softmax(teacher.detach() / temperature, dim=1)
    return temperature**2 * F.kl_div(q, p, reduction="batchmean")
""",
            "wants log-probabilities first",
        ),
        (
            """
def my_kd_loss(student, teacher, temperature):
    log_q = F.log_softmax(student.detach() / temperature, dim=1)
    log_p = F.log_softmax(teacher.detach() / temperature, dim=1)
    return temperature**2 * (log_p.exp() * (log_p - log_q)).sum(dim=1).mean()
""",
            "detach the teacher alone",
        ),
    ],
    "mixed_loss": [
        (
            """
def my_mixed_loss(student, teacher, labels, temperature, alpha):
    soft = kd_loss(student, teacher, temperature)
    return (1 - alpha) * soft + alpha * F.cross_entropy(student, labels)
""",
            "the wrong way round",
        ),
        (
            """
def my_mixed_loss(student, teacher, labels, temperature, alpha):
    soft = kd_loss(student, teacher, temperature)
    return alpha * soft + (1 - alpha) * F.cross_entropy(student / temperature, labels)
""",
            "takes the logits as they are",
        ),
        (
            """
def my_mixed_loss(student, teacher, labels, temperature, alpha):
    soft = temperature**2 * kd_loss(student, teacher, temperature)
    return alpha * soft + (1 - alpha) * F.cross_entropy(student, labels)
""",
            "in the loss twice",
        ),
        (
            """
def my_mixed_loss(student, teacher, labels, temperature, alpha):
    return alpha * kd_loss(student, teacher, temperature) + F.cross_entropy(student, labels)
""",
            "without the weight of the hard one",
        ),
        (
            """
def my_mixed_loss(student, teacher, labels, temperature, alpha):
    soft = kd_loss(student, teacher, temperature)
    return alpha * soft + (1 - alpha) * F.cross_entropy(student, teacher.argmax(dim=1))
""",
            "the label is y",
        ),
        (
            """
def my_mixed_loss(student, teacher, labels, temperature, alpha):
    soft = kd_loss(student, teacher, temperature)
    return (alpha * soft + (1 - alpha) * F.cross_entropy(student, labels)).item()
""",
            "not its item()",
        ),
    ],
    "batch_loss": [
        (
            """
def my_batch_loss(student, teacher, images, labels, temperature, alpha):
    with torch.no_grad():
        theirs = teacher(images)
    return mixed_loss(student(images), theirs, labels, temperature, alpha)
""",
            "the teacher is in training mode",
        ),
        (
            """
def my_batch_loss(student, teacher, images, labels, temperature, alpha):
    teacher.eval()
    with torch.no_grad():
        p = F.softmax(teacher(images) / temperature, dim=1)
    q = F.log_softmax(student(images) / temperature, dim=1)
    soft = F.kl_div(q, p, reduction="batchmean")
    return alpha * soft + (1 - alpha) * F.cross_entropy(student(images), labels)
""",
            "the factor T squared is missing",
        ),
        (
            """
def my_batch_loss(student, teacher, images, labels, temperature, alpha):
    teacher.eval()
    with torch.no_grad():
        p = F.softmax(teacher(images) / temperature, dim=1)
    z = student(images)
    soft = temperature**2 * F.kl_div(F.log_softmax(z / temperature, dim=1), p, reduction="mean")
    return alpha * soft + (1 - alpha) * F.cross_entropy(z, labels)
""",
            "divides by the classes",
        ),
        (
            """
def my_batch_loss(student, teacher, images, labels, temperature, alpha):
    teacher.eval()
    with torch.no_grad():
        p = F.softmax(teacher(images) / temperature, dim=1)
    z = student(images)
    soft = temperature**2 * F.kl_div(F.softmax(z / temperature, dim=1), p, reduction="batchmean")
    return alpha * soft + (1 - alpha) * F.cross_entropy(z, labels)
""",
            "must be log-probabilities",
        ),
        (
            """
def my_batch_loss(student, teacher, images, labels, temperature, alpha):
    teacher.eval()
    with torch.no_grad():
        log_p = F.log_softmax(teacher(images) / temperature, dim=1)
    z = student(images)
    soft = temperature**2 * F.kl_div(log_p, F.softmax(z / temperature, dim=1), reduction="batchmean")
    return alpha * soft + (1 - alpha) * F.cross_entropy(z, labels)
""",
            "the student stands first",
        ),
        (
            """
def my_batch_loss(student, teacher, images, labels, temperature, alpha):
    p = F.softmax(teacher(images) / temperature, dim=1)
    q = F.softmax(student(images) / temperature, dim=1)
    soft = F.kl_div(q, p, reduction="mean")
    hard = F.cross_entropy(student(images), labels)
    return alpha * soft + (1 - alpha) * hard
""",
            "nothing of the published soft part is right yet",
        ),
        (
            """
def my_batch_loss(student, teacher, images, labels, temperature, alpha):
    teacher.eval()
    theirs = teacher(images)
    log_q = F.log_softmax(student(images) / temperature, dim=1)
    p = F.softmax(theirs / temperature, dim=1)
    soft = temperature**2 * F.kl_div(log_q, p, reduction="batchmean")
    return alpha * soft + (1 - alpha) * F.cross_entropy(student(images), labels)
""",
            "ask the teacher inside",
        ),
        (
            """
def my_batch_loss(student, teacher, images, labels, temperature, alpha):
    teacher.eval()
    with torch.no_grad():
        theirs = teacher(images)
    loss = mixed_loss(student(images), theirs, labels, temperature, alpha)
    student.eval()
    return loss
""",
            "not student.eval()",
        ),
    ],
    "hint_loss": [
        (
            """
def my_hint_loss(student, teacher, weight, bias):
    mixed = torch.einsum("nchw,oc->nohw", student, weight) + bias[None, :, None, None]
    return (mixed - teacher).pow(2).sum()
""",
            "take the mean over everything",
        ),
        (
            """
def my_hint_loss(student, teacher, weight, bias):
    mixed = torch.einsum("nchw,oc->nohw", student, weight)
    return (mixed - teacher).pow(2).mean()
""",
            "the bias of the regressor is missing",
        ),
        (
            """
def my_hint_loss(student, teacher, weight, bias):
    mixed = torch.einsum("nchw,oc->nohw", student, weight) + bias[None, :, None, None]
    return (mixed - teacher).pow(2).mean() / 2
""",
            "one half",
        ),
        (
            """
def my_hint_loss(student, teacher, weight, bias):
    mixed = torch.einsum("nchw,oc->nohw", student, weight) + bias[None, :, None, None]
    return (mixed - teacher).abs().mean()
""",
            "not squares",
        ),
        (
            """
def my_hint_loss(student, teacher, weight, bias):
    mixed = torch.einsum("nchw,oc->nohw", student, weight) + bias[None, :, None, None]
    return (mixed - teacher).mean() ** 2
""",
            "square after the difference",
        ),
        (
            """
def my_hint_loss(student, teacher, weight, bias):
    mixed = torch.einsum("nchw,oc->nohw", student, weight.detach()) + bias[None, :, None, None]
    return (mixed - teacher).pow(2).mean()
""",
            "stay with tensors",
        ),
    ],
    "attention_map": [
        (
            """
def my_attention_map(features):
    rows = features.sum(dim=1).flatten(1)
    return rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-12)
""",
            "were not squared",
        ),
        (
            """
def my_attention_map(features):
    rows = features.pow(2).sum(dim=1).flatten(1)
    return rows / rows.sum(dim=1, keepdim=True).clamp_min(1e-12)
""",
            "divide by their length",
        ),
        (
            """
def my_attention_map(features):
    rows = features.pow(2).sum(dim=(2, 3))
    return rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-12)
""",
            "over the channels",
        ),
        (
            """
def my_attention_map(features):
    rows = features.pow(2).sum(dim=1).flatten(1)
    return rows / rows.norm()
""",
            "each item has its own",
        ),
        (
            """
def my_attention_map(features):
    rows = features.pow(2).sum(dim=1).flatten(1)
    return rows / rows.norm(dim=1, keepdim=True)
""",
            "keep the divisor above 0",
        ),
        (
            """
def my_attention_map(features):
    rows = features.abs().sum(dim=1).flatten(1)
    return rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-12)
""",
            "square them",
        ),
    ],
    "distances": [
        (
            """
def my_distances(embeddings):
    far = torch.sqrt((embeddings[:, None] - embeddings[None]).pow(2).sum(dim=2) + 1e-12)
    return far / far.mean()
""",
            "with the diagonal",
        ),
        (
            """
def my_distances(embeddings):
    far = torch.sqrt((embeddings[:, None] - embeddings[None]).pow(2).sum(dim=2))
    n = len(embeddings)
    return far / (far.sum() / (n * (n - 1)))
""",
            "the root has no slope at 0",
        ),
        (
            """
def my_distances(embeddings):
    far = (embeddings[:, None] - embeddings[None]).pow(2).sum(dim=2)
    n = len(embeddings)
    return far / (far.sum() / (n * (n - 1)))
""",
            "take the root",
        ),
        (
            """
def my_distances(embeddings):
    return torch.sqrt((embeddings[:, None] - embeddings[None]).pow(2).sum(dim=2) + 1e-12)
""",
            "were not divided by their mean",
        ),
        (
            """
def my_distances(embeddings):
    far = torch.sqrt((embeddings[:, None] - embeddings[None]).pow(2).sum(dim=2) + 1e-12)
    return far / far.max()
""",
            "by the largest one",
        ),
        (
            """
def my_distances(embeddings):
    far = (embeddings[:, None] - embeddings[None]).abs().sum(dim=2)
    n = len(embeddings)
    return far / (far.sum() / (n * (n - 1)))
""",
            "Euclidean",
        ),
    ],
}

VARIANTS = {
    "soft_targets": [
        """
def my_soft_targets(logits, temperature=1.0):
    return torch.exp(logits / temperature - torch.logsumexp(logits / temperature, dim=1, keepdim=True))
""",
        """
def my_soft_targets(logits, temperature=1.0):
    rows = []
    for row in logits:
        powers = torch.exp((row - max(row)) / temperature)
        rows.append(powers / sum(powers))
    return torch.stack(rows)
""",
    ],
    "kd_loss": [
        """
def my_kd_loss(student, teacher, temperature):
    q = F.log_softmax(student / temperature, dim=1)
    p = F.softmax(teacher.detach() / temperature, dim=1)
    return F.kl_div(q, p, reduction="batchmean") * temperature * temperature
""",
        """
def my_kd_loss(student, teacher, temperature):
    with torch.no_grad():
        log_p = F.log_softmax(teacher / temperature, dim=1)
    total = 0
    for z, row in zip(student, log_p):
        log_q = z / temperature - torch.logsumexp(z / temperature, dim=0)
        total = total + (row.exp() * (row - log_q)).sum()
    return temperature**2 * total / len(student)
""",
    ],
    "mixed_loss": [
        """
def my_mixed_loss(student, teacher, labels, temperature, alpha):
    hard = -F.log_softmax(student, dim=1)[torch.arange(len(labels)), labels].mean()
    return hard + alpha * (kd_loss(student, teacher, temperature) - hard)
""",
        """
def my_mixed_loss(student, teacher, labels, temperature, alpha):
    log_q = F.log_softmax(student / temperature, dim=1)
    p = F.softmax(teacher / temperature, dim=1)
    soft = F.kl_div(log_q, p, reduction="batchmean")
    return temperature**2 * alpha * soft + (1 - alpha) * nn.CrossEntropyLoss()(student, labels)
""",
    ],
    "batch_loss": [
        """
def my_batch_loss(student, teacher, images, labels, temperature, alpha):
    was = teacher.training
    teacher.train(False)
    theirs = teacher(images).detach()
    teacher.train(was)
    z = student(images)
    log_q = F.log_softmax(z / temperature, dim=1)
    log_p = F.log_softmax(theirs / temperature, dim=1)
    soft = F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)
    return alpha * temperature**2 * soft + (1 - alpha) * F.cross_entropy(z, labels)
""",
        """
def my_batch_loss(student, teacher, images, labels, temperature, alpha):
    calm = copy.deepcopy(teacher).eval()
    with torch.inference_mode():
        theirs = calm(images)
    return mixed_loss(student(images), theirs.clone(), labels, temperature, alpha)
""",
    ],
    "hint_loss": [
        """
def my_hint_loss(student, teacher, weight, bias):
    return F.mse_loss(F.conv2d(student, weight[:, :, None, None], bias), teacher)
""",
        """
def my_hint_loss(student, teacher, weight, bias):
    total, count = 0, 0
    for s, t in zip(student, teacher):
        rows = s.flatten(1).T @ weight.T + bias
        total = total + ((rows.T.reshape(t.shape) - t) ** 2).sum()
        count += t.numel()
    return total / count
""",
    ],
    "attention_map": [
        """
def my_attention_map(features):
    return F.normalize((features**2).sum(1).reshape(len(features), -1), dim=1)
""",
        """
def my_attention_map(features):
    rows = []
    for item in features:
        row = (item * item).mean(dim=0).ravel()
        rows.append(row / (row.norm() + 1e-9))
    return torch.stack(rows)
""",
    ],
    "distances": [
        """
def my_distances(embeddings):
    far = torch.cdist(embeddings, embeddings)
    return far / far[~torch.eye(len(far), dtype=torch.bool)].mean()
""",
        """
def my_distances(embeddings):
    n = len(embeddings)
    zero = embeddings.new_zeros(())
    rows = [[zero if i == j else (embeddings[i] - embeddings[j]).norm() for j in range(n)] for i in range(n)]
    far = torch.stack([torch.stack(row) for row in rows])
    return far * n * (n - 1) / far.sum()
""",
    ],
}
