"""Projected gradient descent on a linear classifier, image by image, with its gradient by hand."""

import math


def softmax(z):
    peak = max(z)
    weights = [math.exp(v - peak) for v in z]
    return [w / sum(weights) for w in weights]


def scores(weight, bias, x):
    return [sum(w * v for w, v in zip(row, x, strict=True)) + b for row, b in zip(weight, bias, strict=True)]


def gradient(weight, bias, x, label):
    """Of the cross-entropy, ``sum_c (p_c - [c = y]) W_c``."""
    p = softmax(scores(weight, bias, x))
    return [sum((p[c] - (c == label)) * weight[c][i] for c in range(len(p))) for i in range(len(x))]


def attack(weight, bias, image, label, eps, step, steps, ball, targeted=False):
    """One image as a list of floats."""
    x = list(image)
    for _ in range(steps):
        g = gradient(weight, bias, x, label)
        length = math.sqrt(sum(v * v for v in g))
        g = [-v if targeted else v for v in g]
        if ball == "linf":
            x = [v + step * ((d > 0) - (d < 0)) for v, d in zip(x, g, strict=True)]
            x = [max(o - eps, min(o + eps, v)) for v, o in zip(x, image, strict=True)]
        else:
            x = [v + step * d / length for v, d in zip(x, g, strict=True)]
            away = math.sqrt(sum((v - o) ** 2 for v, o in zip(x, image, strict=True)))
            if away > eps:
                x = [o + (v - o) * eps / away for v, o in zip(x, image, strict=True)]
        x = [max(0.0, min(1.0, v)) for v in x]
    return x
