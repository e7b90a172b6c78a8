"""What the wheel and the sdist hold, built from a copy of the tree without the network."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.metadata import Metadata
from packaging.version import Version

ROOT = Path(__file__).parents[1]
FOLDERS = ("llmcodec", "benchmarks", "recipes", "tests")
FILES = ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md", "constraints-cpu.txt")
BUILD = "from setuptools import build_meta; build_meta.build_sdist('dist'); build_meta.build_wheel('dist')"
MEGABYTES = 40


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    if Version(version("setuptools")) < Version("77"):
        pytest.skip("needs setuptools 77, as pyproject.toml does")
    tree = tmp_path_factory.mktemp("tree")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, tree)
    (tree / "dist").mkdir()
    built = subprocess.run([sys.executable, "-c", BUILD], cwd=tree, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return tree / "dist"


def below(folder):
    found = (path.relative_to(ROOT) for path in (ROOT / folder).rglob("*") if path.is_file())
    return {path.as_posix() for path in found if "__pycache__" not in path.parts}


def test_the_wheel_holds_the_package_and_nothing_else(dist):
    (path,) = dist.glob("*.whl")
    assert path.stat().st_size < MEGABYTES * 1e6
    with zipfile.ZipFile(path) as wheel:
        names = set(wheel.namelist())
        about = {name.split("/", 1)[1] for name in names if ".dist-info/" in name}
        (metadata,) = (wheel.read(name) for name in names if name.endswith(".dist-info/METADATA"))
    assert {name for name in names if ".dist-info/" not in name} == below("llmcodec")
    assert {"licenses/LICENSE", "entry_points.txt"} <= about
    described = Metadata.from_email(metadata, validate=True)
    assert described.name == "llmcodec" and described.license_expression == "Apache-2.0"
    assert described.description_content_type == "text/markdown"


def test_the_sdist_can_be_built_and_tested_from(dist):
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as sdist:
        names = {member.name.split("/", 1)[1] for member in sdist if member.isfile()}
    assert set.union(set(FILES), *map(below, FOLDERS)) <= names
    assert not [name for name in names if name.endswith(".pyc")]
