"""Asyncio SDK and pipeline for the Vidnoz and MioCreate face swap API."""
