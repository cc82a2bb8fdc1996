"""The grader's own process: repeats checks on recorded answers. Started by grading.py, never by a person.

    python grading_judge.py 08 09     # a line {"exercise", "records"} of JSON in, a line {"hint"} out, null for right

Nothing of a submission runs here, and what it sends can call nothing (plain.py).
"""

import json
import os
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])  # our peft, before another one
sys.path.append(str(Path(__file__).resolve().parents[1]))


def main() -> None:
    import course

    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for chapter in sys.argv[1:]:
        course.look(f"{chapter}.0", ())  # imports the chapter's checks
    from tools import replay  # after PyTorch, which the checks have imported

    print("ready", file=answers)
    for line in sys.stdin:
        try:
            asked = json.loads(line)
            inside = asked["exercise"] in course.INSIDE
            hint = None if inside else course.look(asked["exercise"], tuple(replay.replayed(asked["records"])))
        except Exception as error:  # noqa: BLE001 - a record that a submission has forged can be wrong in any way
            hint = f"the record of the answer cannot be read ({type(error).__name__})"
        print(json.dumps({"hint": hint}), file=answers)


if __name__ == "__main__":
    main()
