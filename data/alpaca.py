"""The form in which Alpaca (Taori et al., 2023) puts an instruction, and its input if it has one, before a response."""

INSTRUCTION = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:"
)
INSTRUCTION_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
    "response that appropriately completes the request.\n\n### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n"
    "### Response:"
)


def instruction_source(instruction: str, given: str = "") -> str:
    """What stands before the response. An instruction that is in this form already is returned as it is."""
    if instruction.rstrip().endswith("### Response:"):
        return instruction
    form = INSTRUCTION_WITH_INPUT if given else INSTRUCTION
    return form.format(instruction=instruction, input=given)
