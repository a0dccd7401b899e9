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
        (
            """
def my_soft_targets(logits, temperature=1.0):
    z = logits / temperature
    powers = torch.exp(z - z.max())
    return powers / powers.sum(dim=1, keepdim=True)
""",
            "subtract the largest of each item",
        ),
        (
            """
def my_soft_targets(logits, temperature=1.0):
    z = logits.detach() / temperature
    powers = torch.exp(z - z.max(dim=1, keepdim=True).values)
    return powers / powers.sum(dim=1, keepdim=True)
""",
            "leave the logits attached",
        ),
        (
            """
def my_soft_targets(logits, temperature=1.0):
    powers = torch.exp((logits / temperature).clamp(-80, 80))
    return powers / powers.sum(dim=1, keepdim=True)
""",
            "1000 and of -900",
        ),
        (
            """
def my_soft_targets(logits, temperature=1.0):
    powers = torch.exp((logits - logits.max(dim=1, keepdim=True).values)) ** temperature
    return powers / powers.sum(dim=1, keepdim=True)
""",
            "divide",
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
        (
            """
def my_kd_loss(student, teacher, temperature):
    log_q = F.log_softmax(student / temperature, dim=0)
    log_p = F.log_softmax(teacher.detach() / temperature, dim=0)
    return temperature**2 * (log_p.exp() * (log_p - log_q)).sum(dim=1).mean()
""",
            "over the items",
        ),
        (
            """
def my_kd_loss(student, teacher, temperature):
    log_q = F.log_softmax(student, dim=1)
    log_p = F.log_softmax(teacher.detach() / temperature, dim=1)
    return temperature**2 * (log_p.exp() * (log_p - log_q)).sum(dim=1).mean()
""",
            "only the teacher was softened",
        ),
        (
            """
def my_kd_loss(student, teacher, temperature):
    a = F.log_softmax(student / temperature, 1); b = F.log_softmax(teacher.detach() / temperature, 1)
    return temperature**2 * 0.5 * ((b.exp()*(b-a)).sum(1) + (a.exp()*(a-b)).sum(1)).mean()
""",
            "both directions were averaged",
        ),
        (
            """
def my_kd_loss(student, teacher, temperature):
    q = F.softmax(student / temperature, dim=1)
    p = F.softmax(teacher.detach() / temperature, dim=1)
    return temperature**2 * (p * torch.log((p + 1e-12) / (q + 1e-12))).sum(dim=1).mean()
""",
            "a tiny number",
        ),
        (
            """
def my_kd_loss(student, teacher, temperature):
    log_q = F.log_softmax(student / temperature, dim=1)
    log_p = F.log_softmax(teacher / temperature, dim=1)
    return temperature**2 * (log_p.exp().detach() * (log_p - log_q)).sum(dim=1).mean()
""",
            "not detached",
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
        (
            """
def my_mixed_loss(student, teacher, labels, temperature, alpha):
    return alpha * kd_loss(teacher, student, temperature) + (1 - alpha) * F.cross_entropy(student, labels)
""",
            "the student stands first",
        ),
        (
            """
def my_mixed_loss(student, teacher, labels, temperature, alpha):
    return alpha * kd_loss(student, teacher, 1.0) + (1 - alpha) * F.cross_entropy(student, labels)
""",
            "did not get the temperature",
        ),
        (
            """
def my_mixed_loss(student, teacher, labels, temperature, alpha):
    return alpha * kd_loss(student, teacher, temperature) + (1 - alpha) * F.cross_entropy(F.softmax(student, 1), labels)
""",
            "takes logits, and got probabilities",
        ),
        (
            """
def my_mixed_loss(student, teacher, labels, temperature, alpha):
    hard = F.cross_entropy(student, labels, reduction="sum")
    return alpha * kd_loss(student, teacher, temperature) + (1 - alpha) * hard
""",
            "sum over the items",
        ),
        (
            """
def my_mixed_loss(student, teacher, labels, temperature, alpha):
    return alpha * kd_loss(student, teacher, temperature) + (1 - alpha) * F.cross_entropy(student.detach(), labels)
""",
            "the hard part does not reach",
        ),
        (
            """
def my_mixed_loss(student, teacher, labels, temperature, alpha):
    return alpha * kd_loss(student, teacher, temperature).detach() + (1 - alpha) * F.cross_entropy(student, labels)
""",
            "the soft part does not reach",
        ),
        (
            """
def my_mixed_loss(student, teacher, labels, temperature, alpha):
    soft = kd_loss(student, teacher, temperature)
    return temperature**2 * (alpha * soft + (1 - alpha) * F.cross_entropy(student, labels))
""",
            "the whole sum",
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
        (
            """
def my_batch_loss(student, teacher, images, labels, temperature, alpha):
    with torch.no_grad():
        theirs = teacher(images)
    teacher.eval()
    return mixed_loss(student(images), theirs, labels, temperature, alpha)
""",
            "the teacher is in training mode",
        ),
        (
            """
def my_batch_loss(student, teacher, images, labels, temperature, alpha):
    teacher.eval(); student.eval()
    with torch.no_grad():
        theirs = teacher(images)
    return mixed_loss(student(images), theirs, labels, temperature, alpha)
""",
            "the student is in evaluation mode",
        ),
        (
            """
def my_batch_loss(student, teacher, images, labels, temperature, alpha):
    teacher.eval()
    with torch.no_grad():
        return mixed_loss(student(images), teacher(images), labels, temperature, alpha)
""",
            "only the teacher stands inside",
        ),
        (
            """
def my_batch_loss(student, teacher, images, labels, temperature, alpha):
    teacher.eval()
    with torch.no_grad():
        theirs = teacher(images)
    return mixed_loss(student(images), theirs, labels, temperature, 1 - alpha)
""",
            "alpha weighs the soft part",
        ),
        (
            """
def my_batch_loss(student, teacher, images, labels, temperature, alpha):
    teacher.eval()
    with torch.no_grad():
        p = F.softmax(teacher(images) / temperature, dim=1)
    z = student(images)
    soft = temperature * F.kl_div(F.log_softmax(z / temperature, dim=1), p, reduction="batchmean")
    return alpha * soft + (1 - alpha) * F.cross_entropy(z, labels)
""",
            "only T was taken",
        ),
        (
            """
def my_batch_loss(student, teacher, images, labels, temperature, alpha):
    teacher.eval()
    with torch.no_grad():
        theirs = teacher(images)
    return mixed_loss(theirs, student(images), labels, temperature, alpha)
""",
            "were swapped",
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
        (
            """
def my_hint_loss(student, teacher, weight, bias):
    mixed = torch.einsum("nchw,oc->nohw", student, weight) + bias[None, :, None, None]
    return (mixed - teacher).pow(2).sum(dim=1).mean()
""",
            "the sum over the channels",
        ),
        (
            """
def my_hint_loss(student, teacher, weight, bias):
    mixed = torch.einsum("nchw,oc->nohw", student, weight) + bias[None, :, None, None]
    return (mixed - teacher).norm()
""",
            "the length of the difference",
        ),
        (
            """
def my_hint_loss(student, teacher, weight, bias):
    mixed = student.mean(dim=(2, 3)) @ weight.T + bias
    return (mixed - teacher.mean(dim=(2, 3))).pow(2).mean()
""",
            "compare at every place",
        ),
        (
            """
def my_hint_loss(student, teacher, weight, bias):
    mixed = torch.einsum("nchw,oc->nohw", student.detach(), weight) + bias[None, :, None, None]
    return (mixed - teacher).pow(2).mean()
""",
            "student's features",
        ),
        (
            """
def my_hint_loss(student, teacher, weight, bias):
    mixed = F.conv2d(student, weight[:, :, None, None], bias.data)
    return (mixed - teacher).pow(2).mean()
""",
            "no gradient at the bias",
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
        (
            """
def my_attention_map(features):
    rows = features.sum(dim=1).pow(2).flatten(1)
    return rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-12)
""",
            "the sum was squared",
        ),
        (
            """
def my_attention_map(features):
    rows = features.pow(2).amax(dim=1).flatten(1)
    return rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-12)
""",
            "the largest channel",
        ),
        (
            """
def my_attention_map(features):
    rows = features.pow(2).sum(dim=1).flatten(1)
    return rows.softmax(dim=1)
""",
            "a softmax over the places",
        ),
        (
            """
def my_attention_map(features):
    rows = features.pow(2).sum(dim=1).flatten(1)
    return rows / rows.pow(2).sum(dim=1, keepdim=True).clamp_min(1e-12)
""",
            "the square of their length",
        ),
        (
            """
def my_attention_map(features):
    rows = (features.numpy() ** 2).sum(axis=1).reshape(len(features), -1)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
""",
            "stay with tensors",
        ),
        (
            """
def my_attention_map(features):
    rows = features.detach().pow(2).sum(dim=1).flatten(1)
    return rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-12)
""",
            "detach nothing",
        ),
        (
            """
def my_attention_map(features):
    rows = features.pow(2).flatten(1)
    return rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-12)
""",
            "the channels are still there",
        ),
        (
            """
def my_attention_map(features):
    rows = features.pow(2).sum(dim=1).flatten(1)
    return rows / rows.norm(dim=1, keepdim=True).clamp_min(1.0)
""",
            "kept above 1",
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
        (
            """
def my_distances(embeddings):
    far = torch.sqrt((embeddings[:, None] - embeddings[None]).pow(2).sum(dim=2) + 1e-12)
    n = len(embeddings)
    return far / (far.sum().item() / (n * (n - 1)))
""",
            "a constant to the gradient",
        ),
        (
            """
def my_distances(embeddings):
    far = torch.sqrt((embeddings[:, None] - embeddings[None]).pow(2).sum(dim=2) + 1e-12).triu(1)
    n = len(embeddings)
    return far / (far.sum() / (n * (n - 1) / 2))
""",
            "only half of the pairs",
        ),
        (
            """
def my_distances(embeddings):
    e = F.normalize(embeddings, dim=1)
    far = torch.sqrt((e[:, None] - e[None]).pow(2).sum(dim=2) + 1e-12)
    n = len(e)
    return far / (far.sum() / (n * (n - 1)))
""",
            "brought to length 1 first",
        ),
        (
            """
def my_distances(embeddings):
    far = torch.sqrt((embeddings[:, None] - embeddings[None]).pow(2).sum(dim=2) + 1e-12)
    return far / (far.sum() / (len(far) - 1))
""",
            "N - 1 alone",
        ),
        (
            """
def my_distances(embeddings):
    s = (embeddings * embeddings).sum(1)
    far = torch.sqrt(s[:, None] + s[None] - 2 * embeddings @ embeddings.T)
    n = len(far)
    return far / (far.sum() / (n * (n - 1)))
""",
            "no slope at 0",
        ),
    ],
    "attention_weights": [
        (
            """
def my_attention_weights(query, key, there):
    w = (query @ key.transpose(1, 2) / query.shape[2] ** 0.5).softmax(dim=2) * there[:, None, :]
    return w / w.sum(dim=1, keepdim=True)
""",
            "of 0 divided by 0",
        ),
        (
            """
def my_attention_weights(query, key, there):
    s = query @ key.transpose(1, 2) / query.shape[2] ** 0.5
    return s.masked_fill(~there[:, None, :], -1.0).softmax(dim=2)
""",
            "minus infinity has none",
        ),
        (
            """
def my_attention_weights(query, key, there):
    s = query @ key.transpose(1, 2) / query.shape[2] ** 0.5
    return s.masked_fill(~there[:, None, :], -10.0).softmax(dim=2)
""",
            "minus infinity has none",
        ),
        (
            """
def my_attention_weights(query, key, there):
    key = key * there[:, :, None]
    return (query @ key.transpose(1, 2) / query.shape[2] ** 0.5).softmax(dim=2)
""",
            "a score like any other",
        ),
        (
            """
def my_attention_weights(query, key, there):
    s = query @ key.transpose(1, 2) / query.shape[2] ** 0.5
    return (s + (~there[:, None, :]) * -torch.inf).softmax(dim=2)
""",
            "0 times infinity",
        ),
        (
            """
def my_attention_weights(query, key, there):
    s = query.detach().numpy() @ key.numpy().transpose(0, 2, 1) / query.shape[2] ** 0.5
    s = np.where(there.numpy()[:, None, :], s, -np.inf)
    p = np.exp(s - s.max(2, keepdims=True))
    return p / p.sum(2, keepdims=True)
""",
            "stay with tensors",
        ),
        (
            """
def my_attention_weights(query, key, there):
    s = query @ key.transpose(1, 2) / query.shape[2] ** 0.5
    return s.masked_fill(~there[:, None, :], -torch.inf).log_softmax(dim=2)
""",
            "these are logarithms of weights",
        ),
        (
            """
def my_attention_weights(query, key, there):
    s = query @ key.transpose(1, 2) / query.shape[2] ** 0.5
    return torch.exp(s) * there[:, None, :]
""",
            "the division is missing",
        ),
        (
            """
def my_attention_weights(query, key, there):
    s = query @ key.transpose(1, 2) / query.shape[2] ** 0.5
    return s.masked_fill(~there[0][None, None, :], -torch.inf).softmax(dim=2)
""",
            "each item has its own",
        ),
        (
            """
def my_attention_weights(query, key, there):
    s = key @ query.transpose(1, 2) / query.shape[2] ** 0.5
    return s.softmax(dim=2)
""",
            "keys and queries were swapped, and padding",
        ),
        (
            """
def my_attention_weights(query, key, there):
    s = query @ query.transpose(1, 2) / query.shape[2] ** 0.5
    return s.masked_fill(~there[:, None, :], -torch.inf).softmax(dim=2)
""",
            "compared with themselves",
        ),
        (
            """
def my_attention_weights(query, key, there):
    s = query @ key.transpose(1, 2) / query.shape[2] ** 0.5
    L = s.shape[1]
    return s.masked_fill(
        ~there[:, None, :] | torch.ones(L, L, dtype=torch.bool).triu(1), -torch.inf
    ).softmax(dim=2)
""",
            "words that come later",
        ),
        (
            """
def my_attention_weights(query, key, there):
    scores = query @ key.transpose(1, 2) / query.shape[2] ** 0.5
    return scores.softmax(dim=2)
""",
            "padding is looked at",
        ),
        (
            """
def my_attention_weights(query, key, there):
    scores = query @ key.transpose(1, 2)
    return scores.masked_fill(~there[:, None, :], -torch.inf).softmax(dim=2)
""",
            "the root of d is missing",
        ),
        (
            """
def my_attention_weights(query, key, there):
    scores = query @ key.transpose(1, 2) / query.shape[2]
    return scores.masked_fill(~there[:, None, :], -torch.inf).softmax(dim=2)
""",
            "divided by d: by its root",
        ),
        (
            """
def my_attention_weights(query, key, there):
    scores = query @ key.transpose(1, 2) / query.shape[1] ** 0.5
    return scores.masked_fill(~there[:, None, :], -torch.inf).softmax(dim=2)
""",
            "root of the length",
        ),
        (
            """
def my_attention_weights(query, key, there):
    scores = query @ key.transpose(1, 2) / query.shape[2] ** 0.5
    return scores.masked_fill(there[:, None, :], -1e9).softmax(dim=2)
""",
            "the wrong way round",
        ),
        (
            """
def my_attention_weights(query, key, there):
    scores = query @ key.transpose(1, 2) / query.shape[2] ** 0.5
    return (scores * there[:, None, :]).softmax(dim=2)
""",
            "a score like any other",
        ),
        (
            """
def my_attention_weights(query, key, there):
    scores = query @ key.transpose(1, 2) / query.shape[2] ** 0.5
    return scores.softmax(dim=2) * there[:, None, :]
""",
            "no longer sum to 1",
        ),
        (
            """
def my_attention_weights(query, key, there):
    scores = key @ query.transpose(1, 2) / query.shape[2] ** 0.5
    return scores.masked_fill(~there[:, None, :], -1e9).softmax(dim=2)
""",
            "keys and queries were swapped",
        ),
        (
            """
def my_attention_weights(query, key, there):
    scores = query @ key.transpose(1, 2) / query.shape[2] ** 0.5
    return scores.masked_fill(~there[:, None, :], -1e9).softmax(dim=1)
""",
            "runs over the words that look",
        ),
        (
            """
def my_attention_weights(query, key, there):
    scores = query @ key.transpose(1, 2) / query.shape[2] ** 0.5
    return scores.masked_fill(~there[:, :, None], -1e9).softmax(dim=2)
""",
            "padding is looked at",
        ),
        (
            """
def my_attention_weights(query, key, there):
    return torch.einsum("nid,njd->nij", query, key) / query.shape[2] ** 0.5
""",
            "these are scores",
        ),
        (
            """
def my_attention_weights(query, key, there):
    scores = (query @ key.transpose(1, 2)).detach() / query.shape[2] ** 0.5
    return scores.masked_fill(~there[:, None, :], -torch.inf).softmax(dim=2)
""",
            "detach nothing",
        ),
        (
            """
def my_attention_weights(query, key, there):
    scores = (query @ key.transpose(1, 2) / query.shape[2] ** 0.5).masked_fill(~there[:, None, :], -torch.inf)
    return scores.softmax(dim=2).mean(dim=1)
""",
            "the shape is (N, L, L)",
        ),
    ],
    "head_importance": [
        (
            """
def my_head_importance(loss, batches, heads):
    t = torch.zeros(heads)
    for b in batches:
        g = torch.ones(heads, requires_grad=True)
        t += torch.autograd.grad(loss(g, b), g)[0] ** 2
    return (t / len(batches)).sqrt()
""",
            "the root of the mean square",
        ),
        (
            """
def my_head_importance(loss, batches, heads):
    for b in batches:
        g = torch.ones(heads, requires_grad=True)
        s = torch.zeros(heads)
        s += torch.autograd.grad(loss(g, b), g)[0].abs()
    return s / len(batches)
""",
            "starts anew",
        ),
        (
            """
def my_head_importance(loss, batches, heads):
    r = []
    for b in batches:
        g = torch.ones(heads, requires_grad=True)
        r.append(torch.autograd.grad(loss(g, b), g)[0].abs())
    return torch.stack(r).mean(dim=1)
""",
            "one for each head",
        ),
        (
            """
def my_head_importance(loss, batches, heads):
    r = []
    for b in batches:
        g = torch.ones(heads, requires_grad=True)
        r.append(torch.autograd.grad(loss(g, b), g)[0].abs())
    return torch.stack(r).mean()
""",
            "the mean over the heads, too",
        ),
        (
            """
def my_head_importance(loss, batches, heads):
    t = torch.zeros(heads)
    for b in batches:
        g = torch.ones(heads, requires_grad=True)
        t += torch.autograd.grad(loss(g, b), g)[0].abs()
    return t / t.max()
""",
            "divided by the largest",
        ),
        (
            """
def my_head_importance(loss, batches, heads):
    t = torch.zeros(heads)
    for b in batches:
        g = torch.ones(heads, requires_grad=True)
        t += torch.autograd.grad(loss(g, b), g)[0].abs()
    return (t / len(batches)) / (t / len(batches)).norm()
""",
            "divided by its length",
        ),
        (
            """
def my_head_importance(loss, batches, heads):
    t = torch.zeros(heads)
    for b in batches:
        g = torch.ones(heads, requires_grad=True)
        t += torch.autograd.grad(loss(g, b), g)[0].abs()
    return torch.argsort(t)
""",
            "the numbers of the heads in order",
        ),
        (
            """
def my_head_importance(loss, batches, heads):
    t = torch.zeros(heads)
    for b in batches:
        g = torch.full((heads,), 0.5, requires_grad=True)
        t += torch.autograd.grad(loss(g, b), g)[0].abs()
    return t / len(batches)
""",
            "half open",
        ),
        (
            """
def my_head_importance(loss, batches, heads):
    r = []
    for b in batches:
        r.append(
            torch.stack([loss(1 - e, b) - loss(torch.ones(heads), b) for e in torch.eye(heads)])
        )
    return torch.stack(r).mean(0)
""",
            "with its sign",
        ),
        (
            """
def my_head_importance(loss, batches, heads):
    r = []
    for b in batches:
        r.append(
            torch.stack([loss(1 - e, b) - loss(torch.ones(heads), b) for e in torch.eye(heads)])
        )
    return torch.stack(r).mean(0).abs()
""",
            "averaged before its size was taken",
        ),
        (
            """
def my_head_importance(loss, batches, heads):
    total = torch.zeros(heads)
    for batch in batches:
        gates = torch.ones(heads, requires_grad=True)
        total += torch.autograd.grad(loss(gates, batch), gates)[0]
    return (total / len(batches)).abs()
""",
            "those of opposite sign cancel",
        ),
        (
            """
def my_head_importance(loss, batches, heads):
    gates = torch.ones(heads, requires_grad=True)
    (slope,) = torch.autograd.grad(sum(loss(gates, batch) for batch in batches), gates)
    return slope.abs() / len(batches)
""",
            "those of opposite sign cancel",
        ),
        (
            """
def my_head_importance(loss, batches, heads):
    total = torch.zeros(heads)
    for batch in batches:
        gates = torch.ones(heads, requires_grad=True)
        total += torch.autograd.grad(loss(gates, batch), gates)[0]
    return total / len(batches)
""",
            "the sign is still there",
        ),
        (
            """
def my_head_importance(loss, batches, heads):
    total = torch.zeros(heads)
    for batch in batches:
        gates = torch.ones(heads, requires_grad=True)
        total += torch.autograd.grad(loss(gates, batch), gates)[0].abs()
    return total
""",
            "this is the sum over the batches",
        ),
        (
            """
def my_head_importance(loss, batches, heads):
    total = torch.zeros(heads)
    for batch in batches:
        gates = torch.zeros(heads, requires_grad=True)
        total += torch.autograd.grad(loss(gates, batch), gates)[0].abs()
    return total / len(batches)
""",
            "the gates were shut",
        ),
        (
            """
def my_head_importance(loss, batches, heads):
    rows = []
    for batch in batches:
        whole = loss(torch.ones(heads), batch)
        rows.append(torch.stack([(loss(1 - row, batch) - whole).abs() for row in torch.eye(heads)]))
    return torch.stack(rows).mean(dim=0)
""",
            "what a shut head costs",
        ),
        (
            """
def my_head_importance(loss, batches, heads):
    total = torch.zeros(heads)
    for batch in batches:
        gates = torch.ones(heads, requires_grad=True)
        total += torch.autograd.grad(loss(gates, batch), gates)[0] ** 2
    return total / len(batches)
""",
            "squares of the slopes",
        ),
        (
            """
def my_head_importance(loss, batches, heads):
    for batch in batches:
        gates = torch.ones(heads, requires_grad=True)
        slope = torch.autograd.grad(loss(gates, batch), gates)[0].abs()
    return slope
""",
            "the last batch alone",
        ),
        (
            """
def my_head_importance(loss, batches, heads):
    gates = torch.ones(heads, requires_grad=True)
    total = torch.zeros(heads)
    for batch in batches:
        loss(gates, batch).backward()
        total += gates.grad.abs()
    return total / len(batches)
""",
            "still holds the batches before",
        ),
        (
            """
def my_head_importance(loss, batches, heads):
    total = torch.zeros(heads)
    for batch in batches:
        gates = torch.ones(heads, requires_grad=True)
        total += torch.autograd.grad(loss(gates, batch), gates)[0].abs()
    return total / heads
""",
            "divided by the number of heads",
        ),
        (
            """
def my_head_importance(loss, batches, heads):
    total = torch.zeros(heads)
    for batch in batches:
        gates = torch.ones(heads, requires_grad=True)
        total += torch.autograd.grad(loss(gates, batch), gates)[0].abs()
    return total / total.sum()
""",
            "divided by its sum",
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
        """
def my_soft_targets(logits, temperature=1.0):
    z = logits.float() / temperature
    p = (z - z.amax(1, keepdim=True)).exp()
    return p / p.sum(1, keepdim=True)
""",
        """
def my_soft_targets(logits, temperature=1.0):
    z = (logits / temperature).T
    p = torch.exp(z - z.max(dim=0).values)
    return (p / p.sum(dim=0)).T
""",
        """
def my_soft_targets(logits, temperature=1.0):
    gaps = (logits[:, None, :] - logits[:, :, None]) / temperature
    return 1 / torch.exp(gaps).sum(dim=2)
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
        """
def my_kd_loss(student, teacher, temperature):
    p = F.softmax(teacher.detach() / temperature, dim=1)
    cross = F.cross_entropy(student / temperature, p)
    own = F.cross_entropy(teacher.detach() / temperature, p)
    return temperature**2 * (cross - own)
""",
        """
def my_kd_loss(student, teacher, temperature):
    q, p = ((z / temperature).log_softmax(-1) for z in (student, teacher.detach()))
    return nn.KLDivLoss(reduction="batchmean", log_target=True)(q, p) * temperature**2
""",
        """
def my_kd_loss(student, teacher, temperature):
    log_q = F.log_softmax(student.float() / temperature, dim=1)
    log_p = F.log_softmax(teacher.detach().float() / temperature, dim=1)
    return temperature**2 * (log_p.exp() * (log_p - log_q)).sum(dim=1).mean()
""",
        """
def my_kd_loss(student, teacher, temperature):
    p = soft_targets(teacher.detach(), temperature)
    log_q = F.log_softmax(student / temperature, dim=1)
    return temperature**2 * (torch.xlogy(p, p) - p * log_q).sum(dim=1).mean()
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
        """
def my_mixed_loss(student, teacher, labels, temperature, alpha):
    hot = F.one_hot(labels, student.shape[1]).to(student.dtype)
    hard = -(hot * student.log_softmax(1)).sum(1).mean()
    return alpha * kd_loss(student, teacher, temperature) + (1 - alpha) * hard
""",
        """
def my_mixed_loss(student, teacher, labels, temperature, alpha):
    return torch.lerp(F.cross_entropy(student, labels), kd_loss(student, teacher, temperature), alpha)
""",
        """
def my_mixed_loss(student, teacher, labels, temperature, alpha):
    parts = torch.stack([kd_loss(student, teacher, temperature), F.nll_loss(F.log_softmax(student, 1), labels)])
    return parts @ torch.tensor([alpha, 1 - alpha], dtype=parts.dtype)
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
        """
def my_batch_loss(student, teacher, images, labels, temperature, alpha):
    return mixed_loss(student(images), teacher.eval()(images).detach(), labels, temperature, alpha)
""",
        """
def my_batch_loss(student, teacher, images, labels, temperature, alpha):
    teacher.eval()
    with torch.no_grad():
        p = F.softmax(teacher(images) / temperature, dim=1)
    soft = temperature**2 * F.kl_div(F.log_softmax(student(images) / temperature, dim=1), p, reduction="batchmean")
    return alpha * soft + (1 - alpha) * F.cross_entropy(student(images), labels)
""",
        """
def my_batch_loss(student, teacher, images, labels, temperature, alpha):
    teacher.requires_grad_(False).eval()
    z = student(images)
    return alpha * kd_loss(z, teacher(images), temperature) + (1 - alpha) * F.cross_entropy(z, labels)
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
        """
def my_hint_loss(student, teacher, weight, bias):
    mixed = torch.tensordot(student, weight, dims=([1], [1])) + bias
    return ((mixed - teacher.permute(0, 2, 3, 1)) ** 2).mean()
""",
        """
def my_hint_loss(student, teacher, weight, bias):
    return F.mse_loss(F.linear(student.movedim(1, -1), weight, bias), teacher.movedim(1, -1))
""",
        """
def my_hint_loss(student, teacher, weight, bias):
    mixed = weight @ student.flatten(2) + bias[:, None]
    return torch.mean((mixed - teacher.flatten(2)) ** 2)
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
        """
def my_attention_map(features):
    rows = torch.einsum("nchw,nchw->nhw", features, features).reshape(len(features), -1)
    return rows / torch.sqrt((rows * rows).sum(1, keepdim=True) + 1e-24)
""",
        """
def my_attention_map(features):
    rows = features.square().sum(1).flatten(1)
    length = rows.norm(dim=1, keepdim=True)
    return rows / torch.where(length > 0, length, torch.ones_like(length))
""",
        """
def my_attention_map(features):
    rows = features.float().pow(2).sum(1).flatten(1)
    return F.normalize(rows, dim=1)
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
        """
def my_distances(embeddings):
    squares = (embeddings[:, None] - embeddings[None]).pow(2).sum(2)
    eye = torch.eye(len(embeddings), dtype=embeddings.dtype)
    far = torch.sqrt(squares + eye) * (1 - eye)
    return far / (far.sum() / (len(far) * (len(far) - 1)))
""",
        """
def my_distances(embeddings):
    far = torch.linalg.vector_norm(embeddings[:, None] - embeddings[None], dim=2)
    n = len(far)
    return far * (n * (n - 1)) / far.sum()
""",
        """
def my_distances(embeddings):
    e = embeddings.float()
    far = ((e[:, None] - e[None]) ** 2).sum(-1).add(1e-10).sqrt()
    n = len(far)
    return far / (far.sum() / (n * n - n))
""",
        """
def my_distances(embeddings):
    s = (embeddings * embeddings).sum(1)
    squares = s[:, None] + s[None] - 2 * embeddings @ embeddings.T
    far = torch.sqrt(squares.clamp_min(0) + 1e-12)
    n = len(far)
    return far / (far.sum() / (n * (n - 1)))
""",
    ],
    "attention_weights": [
        """
def my_attention_weights(query, key, there):
    out = torch.zeros(query.shape[0], query.shape[1], query.shape[1], dtype=query.dtype)
    for n in range(len(query)):
        for i in range(query.shape[1]):
            s = key[n][there[n]] @ query[n, i] / query.shape[2] ** 0.5
            out[n, i, there[n]] = s.softmax(0)
    return out
""",
        """
def my_attention_weights(query, key, there):
    eye = torch.eye(key.shape[1], dtype=query.dtype).expand(len(key), -1, -1)
    return F.scaled_dot_product_attention(
        query, key, eye, attn_mask=there[:, None, :].expand(-1, query.shape[1], -1)
    )
""",
        """
def my_attention_weights(query, key, there):
    s = query @ key.transpose(1, 2) / query.shape[2] ** 0.5
    w = s.masked_fill(~there[:, None, :], -torch.inf).softmax(dim=2)
    return w * there[:, :, None]
""",
        """
def my_attention_weights(query, key, there):
    scores = torch.einsum("nid,njd->nij", query, key) / np.sqrt(query.shape[-1])
    return torch.softmax(torch.where(there[:, None, :], scores, -1e9), dim=-1)
""",
        """
def my_attention_weights(query, key, there):
    scores = query @ key.mT / query.shape[2] ** 0.5
    powers = torch.exp(scores - scores.amax(dim=2, keepdim=True)) * there[:, None, :]
    return powers / powers.sum(dim=2, keepdim=True)
""",
        """
def my_attention_weights(query, key, there):
    rows = []
    for q, k, t in zip(query, key, there):
        scores = q @ k.T / q.shape[1] ** 0.5
        scores[:, ~t] = -torch.inf
        rows.append(scores.softmax(dim=1))
    return torch.stack(rows)
""",
        """
def my_attention_weights(query, key, there):
    scores = query @ key.transpose(1, 2) / query.shape[2] ** 0.5
    both = there[:, None, :] & there[:, :, None]
    return scores.masked_fill(~both, -torch.inf).softmax(dim=2)
""",
        """
def my_attention_weights(query, key, there):
    scores = query.float() @ key.float().transpose(1, 2) / query.shape[2] ** 0.5
    return (scores + (there.float() - 1)[:, None, :] * 1e4).softmax(dim=2)
""",
    ],
    "head_importance": [
        """
def my_head_importance(loss, batches, heads):
    return torch.stack(
        [
            torch.autograd.functional.jacobian(lambda g: loss(g, b), torch.ones(heads)).abs()
            for b in batches
        ]
    ).mean(0)
""",
        """
def my_head_importance(loss, batches, heads):
    t = torch.zeros(heads, dtype=torch.float64)
    for b in batches:
        g = torch.ones(heads, dtype=torch.float64, requires_grad=True)
        t += torch.autograd.grad(loss(g, b), g)[0].abs()
    return t / len(batches)
""",
        """
def my_head_importance(loss, batches, heads):
    out = []
    for h in range(heads):
        s = 0.0
        for b in batches:
            g = torch.ones(heads, requires_grad=True)
            s += abs(torch.autograd.grad(loss(g, b), g)[0][h].item())
        out.append(s / len(batches))
    return np.array(out)
""",
        """
def my_head_importance(loss, batches, heads):
    sizes = []
    for batch in batches:
        gates = torch.ones(heads, requires_grad=True)
        loss(gates, batch).backward()
        sizes.append(gates.grad.abs())
    return torch.stack(sizes).mean(dim=0)
""",
        """
def my_head_importance(loss, batches, heads):
    gates = torch.ones(heads, requires_grad=True)
    total = np.zeros(heads)
    for batch in batches:
        gates.grad = None
        loss(gates, batch).backward()
        total += np.abs(gates.grad.numpy())
    return total / len(batches)
""",
        """
def my_head_importance(loss, batches, heads):
    slopes = [torch.func.grad(loss)(torch.ones(heads), batch) for batch in batches]
    return [float(torch.stack([s[h].abs() for s in slopes]).mean()) for h in range(heads)]
""",
        """
def my_head_importance(loss, batches, heads):
    rows = []
    for batch in batches:
        steps = 0.05 * torch.eye(heads)
        rows.append([abs(float(loss(1 + s, batch) - loss(1 - s, batch))) / 0.1 for s in steps])
    return torch.tensor(rows).mean(dim=0)
""",
    ],
}
