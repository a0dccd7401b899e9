"""`edgelab view`: what its server hands out, and to whom."""

import shutil
from pathlib import Path

import httpx
import pytest

from edgelab.errors import BadFile, BadInput
from edgelab.toolbox.viewer import make_viewer, viewing

CASES = Path(__file__).parents[1] / "data" / "cases"


@pytest.fixture
def folder(tmp_path):
    pytest.importorskip("netron")
    for name in ("ext_ok.onnx", "ext_ok.bin"):
        shutil.copy(CASES / name, tmp_path / name)
    (tmp_path / "secret.txt").write_text("secret", encoding="utf-8")
    return tmp_path


def test_the_page_is_netrons_and_reports_to_nobody(folder):
    with viewing(folder / "ext_ok.onnx") as url, httpx.Client(base_url=url, trust_env=False) as client:
        page = client.get("/")
        assert '<meta name="file" content="/data/ext_ok.onnx">' in page.text
        assert '<meta name="version" content="0.0.0">' in page.text  # with one of its own it would send its use
        assert page.text.count('name="version"') == page.text.count('name="date"') == 1
        assert "connect-src 'self'" in page.headers["content-security-policy"]
        for script in ("/index.js", "/view.js", "/onnx.js", "/grapher.css"):
            assert client.get(script).status_code == 200, script


def test_the_files_of_the_model_are_handed_out_and_no_other(folder):
    with viewing(folder / "ext_ok.onnx") as url, httpx.Client(base_url=url, trust_env=False) as client:
        for name in ("ext_ok.onnx", "ext_ok.bin"):
            assert client.get(f"/data/{name}").content == (folder / name).read_bytes()
        for path in (
            "/data/secret.txt",
            "/data/../secret.txt",
            "/data/%2e%2e/secret.txt",
            "/server.py",
            "/__init__.py",
        ):
            assert client.get(path).status_code == 404, path
        assert client.get("/", headers={"Host": "example.com"}).status_code == 403
        assert client.head("/data/ext_ok.onnx").content == b""


def test_what_is_no_model_file_is_said(folder):
    with pytest.raises(BadFile, match=r"none\.onnx"):
        make_viewer(folder / "none.onnx")
    with pytest.raises(BadFile, match="is a folder"):
        make_viewer(folder)
    with pytest.raises(BadFile, match="Git LFS"):
        make_viewer(CASES / "13_git_lfs_pointer.onnx")
    with viewing(folder / "ext_ok.onnx") as url, pytest.raises(BadInput, match="cannot be had"):
        make_viewer(folder / "ext_ok.onnx", int(url.rpartition(":")[2]))
