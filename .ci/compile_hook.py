"""Compiles the hot modules with mypyc while the wheel is built (a hatchling build hook).

What is compiled is listed in pyproject.toml, beside this hook's path. The sources stay in the
wheel: for tracebacks, and because nothing else changes. `BUILD_SHEDPROXY` says what to do:

    auto       compile; where that is not possible, say why and build a pure wheel (the default)
    compiled   compile, or fail
    pure       do not compile

An editable install stays pure unless `compiled` is asked for.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

TOOLS = ["mypy>=2.0", "setuptools>=77"]
GROUP = "shedproxy"
"""Name of the one library that holds all compiled modules: `shedproxy__mypyc`."""
FLAGS = ["-fno-semantic-interposition", "-fvisibility=hidden", "-fno-plt"]
"""Functions of one module call those of another, and of Python, directly, not through a table."""
ERROR_PATHS = """\
#if __has_include("CPy.h")
#include "CPy.h"
#define COLD(function) __typeof__(function) function __attribute__((cold))
COLD(CPyError_OutOfMemory);
COLD(CPy_AddTraceback);
COLD(CPy_AttributeError);
COLD(CPy_TypeError);
COLD(CPy_TypeErrorTraceback);
#endif
"""
"""Included before each source. Half of what mypyc writes is for errors that do not happen: said to
be cold, it is put aside and takes no room in the processor's cache between what runs.
"""


class CompileHook(BuildHookInterface):
    """Adds compiled modules to the wheel and gives it the tag of this platform."""

    PLUGIN_NAME = "custom"

    @property
    def wanted(self) -> str:
        """`auto`, `compiled` or `pure`."""
        wanted = os.environ.get("BUILD_SHEDPROXY", "auto")
        if wanted not in {"auto", "compiled", "pure"}:
            msg = f"BUILD_SHEDPROXY={wanted}: it is auto, compiled or pure"
            raise ValueError(msg)
        return wanted

    def dependencies(self) -> list[str]:
        """What the build environment needs besides hatchling."""
        return [] if self.wanted == "pure" else TOOLS

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile into a scratch directory and have the results packed."""
        if self.wanted == "pure" or (version == "editable" and self.wanted == "auto"):
            return
        self.scratch = tempfile.TemporaryDirectory(prefix="shedproxy-build-")
        try:
            libraries = self.compile(Path(self.scratch.name))
        except (Exception, SystemExit) as error:
            if self.wanted == "compiled":
                raise
            self.app.display_warning(
                f"shedproxy is built without compiled modules and will be slower: {error}"
            )
            return
        if version == "editable":
            for library, place in libraries.items():
                shutil.copy(library, Path(self.root, place))
            return
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        build_data["force_include"].update(libraries)

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """The scratch directory goes."""
        if hasattr(self, "scratch"):
            self.scratch.cleanup()

    def modules(self) -> list[str]:
        """Sources to compile, relative to the root."""
        root = Path(self.root)
        chosen = {path for glob in self.config["compiled"] for path in root.glob(glob)}
        left_out = {path for glob in self.config["interpreted"] for path in root.glob(glob)}
        return sorted(str(path.relative_to(root)) for path in chosen - left_out)

    def compile(self, scratch: Path) -> dict[str, str]:
        """Compiled libraries and their places in the wheel."""
        from mypyc.build import mypycify
        from setuptools import Distribution

        built, error_paths = scratch / "built", scratch / "error_paths.h"
        error_paths.write_text(ERROR_PATHS)
        flags = [*FLAGS, "-include", str(error_paths)]
        with contextlib.chdir(self.root), contextlib.redirect_stdout(sys.stderr):
            extensions = mypycify(
                ["--config-file=", "--ignore-missing-imports", *self.modules()],
                opt_level="2",
                debug_level="0",
                multi_file=True,
                group_name=GROUP,
                target_dir=str(scratch / "sources"),
            )
            for extension in extensions:
                extension.extra_compile_args = [*(extension.extra_compile_args or []), *flags]
                extension.extra_link_args = [*(extension.extra_link_args or []), "-s"]
            command = Distribution({"name": GROUP, "ext_modules": extensions}).get_command_obj(
                "build_ext"
            )
            command.build_lib, command.build_temp = str(built), str(scratch / "objects")
            command.ensure_finalized()
            with compiling_side_by_side():
                command.run()
        return {
            str(path): str(path.relative_to(built)) for path in built.rglob("*") if path.is_file()
        }


@contextlib.contextmanager
def compiling_side_by_side() -> Iterator[None]:
    """Let setuptools use every processor: it compiles one file after the other."""
    from setuptools._distutils.ccompiler import CCompiler

    one_by_one = CCompiler.compile

    def compile_all(self: CCompiler, sources: list[str], *rest: Any, **options: Any) -> list[str]:
        if len(sources) == 1:
            return one_by_one(self, sources, *rest, **options)
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            # The largest first, so that none is left alone at the end.
            by_size = sorted(sources, key=os.path.getsize, reverse=True)
            done = dict(
                zip(
                    by_size,
                    pool.map(lambda one: one_by_one(self, [one], *rest, **options), by_size),
                    strict=True,
                )
            )
        return [name for source in sources for name in done[source]]

    CCompiler.compile = compile_all
    try:
        yield
    finally:
        CCompiler.compile = one_by_one
