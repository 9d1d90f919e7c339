import gguf
import numpy as np
import pytest
from dummy_files import random_params, write_gguf

from t2sql import errors
from t2sql.model import gguf_file


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gguf")
    write_gguf(folder / "tiny.gguf", random_params(folder))
    return folder / "tiny.gguf"


def test_metadata_and_tensors_are_those_of_ggufs_own_reader(path):
    ours, theirs = gguf_file.GGUFFile(path), gguf.GGUFReader(path)
    assert len(theirs.fields) > 8 and len(theirs.tensors) == 2 + 2 * 13
    for key, field in theirs.fields.items():
        assert ours.metadata(key) == field.contents(), key
    for tensor in theirs.tensors:
        np.testing.assert_array_equal(ours.tensor(tensor.name), tensor.data)


def test_quantised_tensor_is_dequantised(tmp_path):
    values = np.linspace(-2, 2, 256, dtype=np.float32).reshape(4, 64)
    writer = gguf.GGUFWriter(tmp_path / "q.gguf", "gemma3")
    quantised = gguf.quantize(values, gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("t", quantised, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = gguf_file.GGUFFile(tmp_path / "q.gguf").tensor("t")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, values, atol=2 / 127)


def test_file_cut_anywhere_is_refused(path, tmp_path):
    content = path.read_bytes()
    lengths = np.linspace(4, len(content) - 1, 40).astype(int)
    for length in lengths:
        cut = tmp_path / "cut.gguf"
        cut.write_bytes(content[:length])
        with pytest.raises(errors.InputError, match=r"cut\.gguf: truncated or damaged"):
            gguf_file.GGUFFile(cut)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "x.gguf").write_text("<html>404</html>")
    with pytest.raises(errors.InputError, match="not a GGUF file"):
        gguf_file.GGUFFile(tmp_path / "x.gguf")
    with pytest.raises(errors.InputError, match="no such GGUF file"):
        gguf_file.GGUFFile(tmp_path / "absent.gguf")


def test_absent_field_and_tensor_are_named(path):
    file = gguf_file.GGUFFile(path)
    with pytest.raises(errors.InputError, match="no field 'gemma3.nothing'"):
        file.metadata("gemma3.nothing")
    assert file.metadata("gemma3.nothing", 7) == 7
    with pytest.raises(errors.InputError, match="no tensor 'nothing'"):
        file.tensor("nothing")
