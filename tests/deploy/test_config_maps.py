"""Flag, policy and certificates that change as Kubernetes changes mounted ConfigMaps and Secrets take effect live."""

import asyncio
import json
from pathlib import Path

import grpc
from support.certificates import Authority
from support.config_map import MountedConfigMap
from support.stack import document, running_stack
from support.waiting import until

from vecsec_policy.settings import PACKAGED_POLICY


def flags(is_on: bool) -> dict[str, str]:
    flag = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on" if is_on else "off"}
    return {"flags.json": json.dumps({"flags": {"use_real_vector_retrieval": flag}})}


async def test_the_flag_takes_effect_live(tmp_path: Path) -> None:
    mounted = MountedConfigMap(tmp_path / "flags", flags(is_on=True))
    async with running_stack(tmp_path, VECSEC_FLAG_FILE=tmp_path / "flags" / "flags.json") as stack:
        await stack.load("tenant_a", document("plan", "the plan"))

        async def is_off() -> bool:
            try:
                await stack.ids(stack.issuer.token(), "tenant_a")
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.UNAVAILABLE
                return True
            return False

        assert not await is_off()
        mounted.put(flags(is_on=False))
        await until(is_off)
        mounted.put(flags(is_on=True))

        async def is_on() -> bool:
            return not await is_off()

        await until(is_on)


async def test_the_policy_takes_effect_live(tmp_path: Path) -> None:
    content = {path.name: path.read_text() for path in PACKAGED_POLICY.iterdir() if path.is_file()}
    mounted = MountedConfigMap(tmp_path / "mounted", content)
    async with running_stack(tmp_path, VECSEC_POLICY_DIR=tmp_path / "mounted") as stack:
        await stack.load("tenant_a", document("plan", "the plan", topics=("rag",)))
        token = stack.issuer.token()
        assert await stack.ids(token, "tenant_a") == ["plan"]
        refusal = '@id("nobody")\nforbid (principal, action, resource);\n'
        nobody = {"access.cedar": f"{content['access.cedar']}\n{refusal}"}

        async def sees_nothing() -> bool:
            try:
                return await stack.ids(token, "tenant_a") == []
            except grpc.aio.AioRpcError as error:
                return error.code() is grpc.StatusCode.PERMISSION_DENIED

        mounted.put(content | nobody)
        await until(sees_nothing)
        mounted.put(content)

        async def sees_again() -> bool:
            try:
                return await stack.ids(token, "tenant_a") == ["plan"]
            except grpc.aio.AioRpcError:
                return False

        await until(sees_again)


async def test_a_renewed_certificate_takes_effect_live(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")

    def secret(days: int) -> dict[str, str]:
        pair = authority.issue("spiffe://vecsec/policy", days)
        return {
            "tls.crt": pair.certificate.decode(),
            "tls.key": pair.key.decode(),
            "ca.crt": authority.ca.cert_pem.bytes().decode(),
        }

    folder = tmp_path / "secret"
    mounted = MountedConfigMap(folder, secret(days=90))
    settings = {
        "VECSEC_TLS_CERTIFICATE_FILE": folder / "tls.crt",
        "VECSEC_TLS_KEY_FILE": folder / "tls.key",
        "VECSEC_TLS_CA_FILE": folder / "ca.crt",
    }
    everybody = {f"VECSEC_{service}_ALLOWED_PEERS": "*" for service in ("POLICY", "RETRIEVAL")}
    async with running_stack(tmp_path, authority=authority, **settings, **everybody) as stack:
        series = 'vecsec_certificate_expiry_seconds{certificate="service"}'
        before = stack.metrics(stack.policy_service)[series]
        mounted.put(secret(days=30))

        async def is_taken() -> bool:
            return (await asyncio.to_thread(stack.metrics, stack.policy_service))[series] < before

        await until(is_taken)
        await stack.load("tenant_a", document("plan", "the plan"))
        assert await stack.ids(stack.issuer.token(), "tenant_a") == ["plan"]
