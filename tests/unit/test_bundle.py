"""The page's modules and style sheets as one file each."""

import pytest

from zimage_cache.web.page import bundle

FILES = {
    "main.js": 'import { one, two } from "./lib/a.js";\nimport "./b.js";\n/** x */\nlet sum = one;\nsum += two();\n',
    "b.js": '// why\nimport {\n  one,\n} from "./lib/a.js";\nexport const half = one / 2;\n',
    "lib/a.js": "export const one = 1;\nexport async function two() {\n  return 2; // kept\n}\n",
    "cycle.js": 'import { x } from "./other.js";\nexport const y = 1;\n',
    "other.js": 'import { y } from "./cycle.js";\nexport const x = 1;\n',
    "star.js": 'import * as all from "./b.js";\n',
    "default.js": "export default 1;\n",
    "main.css": '/* a */\n@import "./lib/a.css";\nb { c: d; }\n',
    "lib/a.css": "/* why,\n   in two lines */\na { b: c; } /* kept */\n",
}


@pytest.fixture(autouse=True)
def _files(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bundle, "source", FILES.__getitem__)


def test_modules_come_after_those_they_import():
    """Each module is a function of its own, called once, with its imports as constants and its exports as a result."""
    assert bundle.script("main.js") == (
        "const modules = {};\n"
        '// lib/a.js\nmodules["lib/a.js"] = (() => {\n'
        "const one = 1;\nasync function two() {\n  return 2; // kept\n}\n"
        "return { one, two };\n})();\n"
        '// b.js\nmodules["b.js"] = (() => {\n'
        'const {\n  one,\n} = modules["lib/a.js"];\nconst half = one / 2;\n'
        "return { half };\n})();\n"
        '// main.js\nmodules["main.js"] = (() => {\n'
        'const { one, two } = modules["lib/a.js"];\nlet sum = one;\nsum += two();\n'
        "return {  };\n})();\n"
    )


def test_modules_in_a_circle_are_refused():
    """None of them could come first."""
    with pytest.raises(ValueError, match="cycle"):
        bundle.script("cycle.js")


@pytest.mark.parametrize("name", ["star.js", "default.js"])
def test_other_forms_are_refused(name: str):
    """What would be joined incorrectly is an error when the server starts, and in every test."""
    with pytest.raises(ValueError, match=f"{name}: not a form"):
        bundle.script(name)


def test_style_sheets_stand_in_the_order_of_their_imports():
    """Comments that are whole lines are left out."""
    assert bundle.style_sheet("main.css") == "a { b: c; } /* kept */\nb { c: d; }\n"
