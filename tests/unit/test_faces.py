"""The faces of rooms: what each offers by name, without loading a framework before a name is used."""

import importlib
import inspect
import subprocess
import sys

import pytest

OFFERED = {
    "compress": "Quantized collect_ranges fake_quantize fake_quantize_weights fold_batch_norm per_channel "
    "quantize_dynamic quantize_for_backend quantize_static quantize_weights sqnr_db stored_integers",
    "convert": "Converted export_int8 save_converted tensorflow to_coreml to_onnx to_tflite",
    "feeding": "Arrays Feed FeedOptions ModelFile load_arrays match_inputs match_outputs plan_feeds read_facts "
    "save_arrays",
    "federated": "Batches ClientConfig FederatedRun Float32 Int8 Partition TopK client_round dirichlet_labels "
    "draw_fleet evaluate_clients evaluate_groups feature_skew federated_average iid initial_weights quantity_skew "
    "run_clients schedule_round sensor_bias simulate slope_of",
    "golden": "Golden GoldenMade GoldenReport check make read_golden",
    "mcu": "Device Model all_devices build_firmware check_operators compile_firmware find_device plan_arena "
    "plan_buffers quantization_header read_model run_firmware",
    "models": "TfliteWriter existing_file folder_bytes folder_hash is_mlpackage model_format",
    "qat": "Freeze QatFile Rules Trained calibrate qat write_onnx",
    "slim": "Recipe adapted apply_masks ask audit break_even distillation_loss factorise_layer factorised "
    "fine_tune kd_loss magnitude_masks merge narrowed packed_sizes rank_for_energy soft_targets teach",
    "ota": "Bonferroni Card Decision Device DiskStorage EProcess Fault FixedThreshold Flash Fleet "
    "LogHistogram Looks Manifest PeekedExact Publisher Refused Report Rollout SPRT StageEnds Trial "
    "apply_delta best_delta cut_everywhere draw_devices e_process exact_interval initialise "
    "make_server open_device publish rate_bound roll_out run_fleet serving sketch status try_gates "
    "write_file",
    "privacy": "Attack FixedPoint NormBound PrivacyConfig PrivateMean Refused SecureMean SecureRound SecureSum "
    "TrimmedMean invert_first_layer judge_attack median private_rounds private_sgd search_input "
    "secure_average secure_sum",
    "posttraining": "as_relu channel_groups channel_statistics correct_biases equalise judge_of looks_unreal "
    "round_layers search_static search_weights still store",
    "toolbox": "Conversion TeacherFile convert distill prune quantize quantize_aware what_ran",
}


@pytest.mark.parametrize("room", OFFERED)
def test_a_face_offers_its_names(room):
    face = importlib.import_module(f"edgelab.{room}")
    assert sorted(face.__all__) == sorted(OFFERED[room].split())
    for name in face.__all__:
        assert getattr(face, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = face.nothing


def test_a_face_loads_no_framework():
    code = "import sys, edgelab." + ", edgelab.".join(OFFERED)
    code += "; print(' '.join(m for m in sys.modules if '.' not in m))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"numpy", "torch", "tensorflow", "onnx", "onnxruntime", "coremltools", "litert_torch"} & set(loaded)


def test_every_format_is_written_with_the_same_arguments():
    from edgelab.convert import to_coreml, to_onnx, to_tflite

    arguments = [list(inspect.signature(each).parameters.values()) for each in (to_onnx, to_tflite, to_coreml)]
    assert arguments[0] == arguments[1] == arguments[2]
    assert [p.name for p in arguments[0]] == ["net", "example", "path", "precision"]
